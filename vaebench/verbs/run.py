"""``vaebench run table=NAME``: train and evaluate what is not done yet, then print the table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.config.cells import Figure, Table
from vaebench.errors import Interrupted
from vaebench.verbs import add_overrides, nothing_to_set, results_root, streams, write

if TYPE_CHECKING:
    from vaebench.report.shown import Shown

HELP = (
    "Train and evaluate the cells of a table. Finished runs are skipped, partial ones resumed; the table is printed.\n"
    "A figure of formulas alone trains nothing: it is drawn to the folder 'figures' beside run.results."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "table=NAME[,NAME], preset=NAME, groups such as data=digits, values such as optim.rate=1e-3")
    parser.add_argument("--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only")
    parser.add_argument("--seeds", metavar="0-4", help="seeds to run; default: the preset's or the table's")
    parser.add_argument("--dry-run", action="store_true", help="show cells, seeds, what is done, and the expected cost")
    parser.add_argument("--force", action="store_true", help="throw away the runs of these cells and start anew")
    parser.add_argument("--fail-fast", action="store_true", help="begin nothing new after the first failure")


def run(args: Namespace) -> int:
    from vaebench.config.compose import cells, parse, seeds
    from vaebench.report import plan as report_plan
    from vaebench.results.store import Store
    from vaebench.running.execute import execute, plan

    selection = parse(args.overrides)
    preset = catalogue.load_preset(selection.preset)
    every = [catalogue.load(name) for name in selection.tables]
    tables = [e for e in every if isinstance(e, Table)]
    figures = [e for e in every if isinstance(e, Figure)]
    if not tables:
        given = nothing_to_set(figures, selection.overrides, args)
        results = results_root(given.get("run.results"))
        _would_draw(figures, results) if args.dry_run else _print(_draw(figures, results))
        return 0

    chosen = {t.name: cells(t, preset, selection.overrides, args.only) for t in tables}
    wanted = {t.name: seeds(t, preset, args.seeds) for t in tables}
    store = Store(next(iter(chosen.values()))[0].run.results)
    todo = plan(store, [(chosen[t.name], wanted[t.name]) for t in tables], args.force)
    if not args.force:
        _look_for_earlier(store, todo.todo)
    if args.dry_run:
        _would_draw(figures, store.root)
        print(report_plan.describe(todo, args.force))
        return 0

    drawn = _draw(figures, store.root)  # first: what cannot be written is known before the training
    outcomes, stopped = execute(todo, args.force, args.fail_fast)
    shown = drawn | _measured(tables, chosen, wanted, bool(args.only))
    _print({e.name: shown[e.name] for e in every})
    bad = _told(outcomes, {t.name: t for t in tables})
    if stopped:
        raise Interrupted("interrupted; the state is saved, the same command goes on from here")
    return 1 if bad else 0


def _look_for_earlier(store, todo) -> None:
    """Refuse to train again what an earlier version has trained under another name; tell what else there is of it."""
    from vaebench.results.rekey import of_earlier_version, refuse_outdated

    refuse_outdated(store, todo)
    earlier = of_earlier_version(store, [cell for cell, _ in todo])
    if earlier:
        print(f"vaebench: {earlier}", file=sys.stderr)


def _measured(tables, chosen, wanted, narrowed: bool) -> dict[str, Shown]:
    """The tables with their results, by name."""
    from vaebench.report import stored

    out = {}
    for table in tables:
        cells = chosen[table.name]
        shown = table.narrowed((c.row, c.column) for c in cells) if narrowed else table
        out[table.name] = stored.measured(shown, cells, wanted[table.name])
    return out


def _told(outcomes, tables) -> list:
    """The runs that failed, or diverged where the table does not say that they do; a line about each."""
    from vaebench.running.tasks import bad

    def expected(o) -> bool:
        return o.status == "diverged" and tables[o.task.cell.table].rows[o.task.cell.row].diverges

    found = [o for o in bad(outcomes) if not expected(o)]
    for o in found:
        print(f"vaebench: {o.task.cell} seed {o.seed} {o.status}: {o.reason}", file=sys.stderr)
    return found


def _print(shown: dict[str, Shown]) -> None:
    from vaebench.report import written

    sys.stdout.write(written(list(shown.values()), width=streams.width()))


def _draw(figures: list[Figure], results: Path) -> dict[str, Shown]:
    """Write the CSV and the image of each figure of formulas; the figures by name."""
    from vaebench.report.drawn import Drawn
    from vaebench.report.shown import points_text

    out = {}
    for figure in figures:
        drawn = Drawn(figure)
        path = _image(results, figure)
        write(path.with_suffix(".csv"), points_text([drawn]))
        write(path, drawn.image("png"))
        out[figure.name] = drawn
    return out


def _would_draw(figures: list[Figure], results: Path) -> None:
    for figure in figures:
        path = _image(results, figure)
        print(f"{figure.name}: drawn from formulas, nothing to train; writes {path} and {path.stem}.csv beside it")


def _image(results: Path, figure: Figure) -> Path:
    """Where the image of a figure goes; its CSV stands beside it."""
    return results.parent / "figures" / f"{figure.name}.png"
