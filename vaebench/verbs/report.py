"""``vaebench report table=NAME``: measured numbers beside published ones."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench import report
from vaebench.config import catalogue
from vaebench.config.tables import PLOTS, Table
from vaebench.verbs import add_overrides, looks, nothing_to_set, only_keys, tell, write

if TYPE_CHECKING:
    from vaebench.config.selection import Selection
    from vaebench.report.shown import Measured

HELP = (
    "Print a table with the stored results beside the published numbers, and a verdict where one "
    "may be given.\n"
    "A figure of formulas alone is computed anew."
)
FROM = (
    "read results from a CSV instead of the runs; several are read together; "
    "reference: the results shipped"
)


def configure(parser: ArgumentParser) -> None:
    formats = ", ".join(report.FORMATS)
    add_overrides(
        parser, "table=NAME, preset=NAME, run.results=DIR, and the settings the runs were made with"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only"
    )
    parser.add_argument(
        "--seeds", metavar="0-4", help="these seeds only; default: all that are found"
    )
    parser.add_argument(
        "--format", default="text", metavar="FORMAT", help=f"{formats} (csv: every measure)"
    )
    parser.add_argument(
        "--from", dest="sources", action="append", default=[], metavar="CSV", help=FROM
    )
    parser.add_argument(
        "--brief", action="store_true", help="a line for each entry with runs, no other notes"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write there instead of to the terminal"
    )
    parser.add_argument(
        "--curves", type=Path, metavar="FILE.csv", help="write the curves, or what a figure shows"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them (png, svg or pdf)")
    parser.add_argument(
        "--figure", metavar="NAME", help=f"{', '.join(PLOTS)}; default: the table's"
    )


def run(args: Namespace) -> int:
    from vaebench.config.selection import parse
    from vaebench.report import images, options, shown

    selection = parse(args.overrides)
    exhibits = [catalogue.load(name) for name in selection.tables]
    options.check(exhibits, args.format, args.plot, args.curves, args.figure, args.sources)
    tables = [e for e in exhibits if isinstance(e, Table)]

    # Figures of formulas alone take no setting but ``run.results``.
    if not tables:
        nothing_to_set(exhibits, selection.overrides, args)

    measured = (
        (_from_files if args.sources else _from_runs)(tables, selection, args) if tables else []
    )
    shown_exhibits = shown.in_order(exhibits, measured)

    # Everything is made before anything is written, so that an error leaves no files behind. Only
    # text that goes to the standard output is fitted to a terminal.
    look = (
        looks(args.brief)
        if args.output is None and args.format == "text"
        else report.Look(args.brief)
    )
    text = report.written(shown_exhibits, args.format, look)
    curves_csv = shown.points_text(shown_exhibits) if args.curves else ""
    image = shown_exhibits[0].image(images.kind_of(args.plot)) if args.plot else b""

    for path, content in ((args.curves, curves_csv), (args.plot, image), (args.output, text)):
        if path:
            write(path, content)

    if not args.output:
        sys.stdout.write(text)
    return 0


def _from_files(tables: list[Table], selection: Selection, args: Namespace) -> list[Measured]:
    from vaebench.config.selection import picked
    from vaebench.report import recorded

    # Without a named preset ``selection.preset`` is "paper", but all presets in a CSV are shown.
    preset = (
        selection.preset
        if "preset" in only_keys(args.overrides, ["table", "preset"], "report --from")
        else None
    )
    files = recorded.read_files(args.sources, selection.tables, preset)

    measured = []
    for table in tables:
        entries = picked(table, args.only) if args.only else None
        measured.append(
            files.measured(table, preset, _seeds(table, selection, args), entries, args.figure)
        )
        tell(files.left_out(measured[-1]))
    return measured


def _from_runs(tables: list[Table], selection: Selection, args: Namespace) -> list[Measured]:
    from vaebench.config.compose import cells
    from vaebench.report import stored

    preset = catalogue.load_preset(selection.preset)
    chosen = [cells(table, preset, selection.overrides, args.only) for table in tables]

    # With --only the table is cut down to the chosen entries, so that it shows no empty rows.
    measured = []
    for table, cells_of_table in zip(tables, chosen, strict=True):
        part = table.narrowed((c.row, c.column) for c in cells_of_table) if args.only else table
        measured.append(
            stored.measured(part, cells_of_table, _seeds(table, selection, args), args.figure)
        )

    files = bool(args.curves or args.plot or (args.output and args.format == "csv"))
    tell(stored.notices(measured, chosen, selection.overrides, files))
    return measured


def _seeds(table: Table, selection: Selection, args: Namespace) -> list[int] | None:
    from vaebench.config.selection import seeds

    return (
        None
        if args.seeds is None
        else seeds(table, catalogue.load_preset(selection.preset), args.seeds)
    )
