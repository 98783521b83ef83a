"""``vaebench run table=NAME``: train and evaluate what is not done yet, then print the table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.config import catalogue
from vaebench.errors import Interrupted
from vaebench.verbs import add_overrides, nothing_to_set, results_root, streams, write

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
    every = [catalogue.load_table(name) for name in selection.tables]
    tables = [t for t in every if not t.drawn]
    drawn = [t for t in every if t.drawn]
    if not tables:
        given = nothing_to_set(drawn, selection.overrides, args)
        return _draw_only(drawn, results_root(given.get("run.results")), args.dry_run)

    chosen = {t.name: cells(t, preset, selection.overrides, args.only) for t in tables}
    wanted = {t.name: seeds(t, preset, args.seeds) for t in tables}
    store = Store(next(iter(chosen.values()))[0].config["run"]["results"])
    todo = plan(store, [(chosen[t.name], wanted[t.name]) for t in tables], args.force)
    if not args.force:
        _look_for_earlier(store, todo.todo)
    if args.dry_run:
        _would_draw(drawn, store.root)
        print(report_plan.describe(store, tables, chosen, wanted, args.force))
        return 0

    pages = _draw(drawn, store.root)  # first: what cannot be written is known before the training
    outcomes, stopped = execute(todo, args.force, args.fail_fast)
    pages |= _rendered(store, tables, chosen, wanted, bool(args.only))
    _print(every, pages)
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


def _rendered(store, tables, chosen, wanted, narrowed: bool) -> dict[str, str]:
    """The tables as text, by name. Notes that several share are printed once."""
    from vaebench.report import render
    from vaebench.report.layout import View

    view = View(width=streams.width())
    pages = {}
    for table in tables:
        shown = table.narrowed((c.row, c.column) for c in chosen[table.name]) if narrowed else table
        pages[table.name] = render(shown, store.frame(chosen[table.name], wanted[table.name]), "text", view)
    return pages


def _told(outcomes, tables) -> list:
    """The runs that failed, or diverged where the table does not say that they do; a line about each."""
    from vaebench.running.tasks import bad

    def expected(o) -> bool:
        return o.status == "diverged" and tables[o.task.cell.table].rows[o.task.cell.row].diverges

    found = [o for o in bad(outcomes) if not expected(o)]
    for o in found:
        print(f"vaebench: {o.task.cell} seed {o.seed} {o.status}: {o.reason}", file=sys.stderr)
    return found


def _print(tables, pages: dict[str, str]) -> None:
    print("\n\n".join(pages[t.name].rstrip("\n") for t in tables))


def _draw_only(drawn, results: Path, dry: bool) -> int:
    if dry:
        _would_draw(drawn, results)
    else:
        _print(drawn, _draw(drawn, results))
    return 0


def _draw(drawn, results: Path) -> dict[str, str]:
    """Write the CSV and the image of each figure that is drawn from formulas; their text by name."""
    from vaebench.report import drawn as figures

    pages = {}
    for table in drawn:
        points, path = figures.points(table), _figure(results, table)
        write(path.with_name(f"{table.name}.csv"), figures.csv_text(points))
        write(path, figures.image(table, points, "png"))
        pages[table.name] = figures.render(table, points)
    return pages


def _would_draw(drawn, results: Path) -> None:
    for table in drawn:
        path = _figure(results, table)
        print(f"{table.name}: drawn from formulas, nothing to train; writes {path} and {table.name}.csv beside it")


def _figure(results: Path, table) -> Path:
    """Where the image of a drawn figure goes; its CSV stands beside it."""
    return results.parent / "figures" / f"{table.name}.png"
