"""``vaebench site``: all tables, runs and models as pages for a browser."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.config.tables import Table
from vaebench.errors import UserError, nearest
from vaebench.formatting import counted
from vaebench.settings.defaults import results_root
from vaebench.verbs import add_overrides, only_keys, tell

if TYPE_CHECKING:
    from vaebench.site.build import Samples

HELP = (
    "Write a folder of pages: all tables with their state, a page for each table and run, models "
    "across tables.\n"
    "A browser opens it from the file system; it needs no server and no network."
)
FROM = (
    "results from a CSV instead of the runs; several are read together; "
    "reference: the results shipped"
)
KEYS = ("table", "run.results")


def configure(parser: ArgumentParser) -> None:
    add_overrides(
        parser, "table=NAME[,NAME]: these alone; run.results=DIR: where the runs are", KEYS
    )
    parser.add_argument(
        "--from", dest="sources", action="append", default=[], metavar="CSV", help=FROM
    )
    parser.add_argument(
        "--output", type=Path, default=Path("site"), metavar="DIR", help="the folder; default site"
    )
    parser.add_argument(
        "--samples",
        action="store_true",
        help="with samples of each trained model, pictures or documents",
    )


def run(args: Namespace) -> int:
    value_of = only_keys(args.overrides, KEYS, "site")
    tables = _tables(value_of.get("table"))
    if args.sources and ("run.results" in value_of or args.samples):
        refused = "--samples" if args.samples else "run.results"
        raise UserError(f"site --from: there are no runs to read; leave out {refused}")
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output}: not a folder")

    from vaebench.running.progress import Progress
    from vaebench.work.events import Working
    from vaebench.work.steps import Work

    with (
        contextlib.closing(Progress([], None)) as progress,
        Work(tell=lambda far: progress(Working("site", far))),
    ):
        notes = _write(tables, args, results_root(value_of.get("run.results")))
    tell(notes)
    return 0


def _write(tables: Sequence[Table], args: Namespace, root: Path) -> list[str]:
    """Write the pages, and return what the user should know about them.

    Raises UserError if there are no results.
    """
    from vaebench.site import build, sources
    from vaebench.work.steps import steps

    # The presets are read once for all tables, from all runs of the store.
    presets = set() if args.sources else sources.presets_in(root)
    results = []
    for i in steps("tables read", len(tables)):
        results_of_table = (
            sources.of_files(tables[i], args.sources)
            if args.sources
            else sources.of_store(tables[i], root, presets)
        )
        results.append(results_of_table)

    left_out = 0 if args.sources else sources.left_out(root, results)
    left_out_text = f"{counted(left_out, 'run')} with other settings or of other tables left out"
    if not any(len(result.frame) for result in results):
        where = ", ".join(args.sources) or str(root)
        hint = (
            f"{left_out_text}; vaebench ls runs lists them"
            if left_out
            else "--from reference shows those shipped"
        )
        raise UserError(f"{where}: no results of these tables; {hint}")

    pages = build.build(args.output, results, _samples if args.samples else None)
    notes = [f"{left_out_text}; vaebench ls runs lists them"] if left_out else []
    return [*notes, f"wrote {pages} pages; open {args.output / 'index.html'}"]


def _tables(names: str | None) -> list[Table]:
    """Return the tables that are named, or all. Figures of formulas have no results."""
    trained_tables = [
        exhibit
        for name in catalogue.options("table")
        if isinstance(exhibit := catalogue.load(name), Table)
    ]
    if names is None:
        return trained_tables

    by_name = {table.name: table for table in trained_tables}
    for name in names.split(","):
        if name not in by_name:
            raise UserError(f"table={name}: {nearest(name, by_name)}")

    return [by_name[name] for name in dict.fromkeys(names.split(","))]


def _samples(folder: Path) -> Samples:
    from vaebench.site.samples import of_run

    return of_run(folder)
