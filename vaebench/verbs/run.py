"""``vaebench run table=NAME``: train and evaluate what is not done yet, then print the table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vaebench.config import catalogue
from vaebench.config.tables import Figure, Table
from vaebench.errors import Interrupted
from vaebench.settings import options
from vaebench.settings.defaults import results_root
from vaebench.verbs import add_option, add_overrides, drawings, looks, nothing_to_set, tell

HELP = (
    "Train and evaluate the cells of a table. Finished runs are skipped, partial ones resumed; "
    "the table is printed.\n"
    "A figure of formulas alone trains nothing: it is drawn to the folder 'figures' beside "
    "run.results."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(
        parser,
        "table=NAME[,NAME], preset=NAME, groups such as data=digits, values "
        "such as optim.rate=1e-3",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only"
    )
    parser.add_argument(
        "--seeds", metavar="0-4", help="seeds to run; default: the preset's or the table's"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show cells, seeds, what is done, and the expected cost",
    )
    parser.add_argument(
        "--force", action="store_true", help="throw away the runs of these cells and start anew"
    )
    parser.add_argument(
        "--shard", metavar="3/8", help="the third of eight shares of the runs, for any scheduler"
    )
    parser.add_argument(
        "--no-eval", action="store_true", help="train only; the same command without it evaluates"
    )
    minutes_help = "save and stop after so long; run again to go on"
    add_option(parser, "--minutes", options.MINUTES, metavar="N", help=minutes_help)
    parser.add_argument(
        "--fail-fast", action="store_true", help="begin nothing new after the first failure"
    )


def run(args: Namespace) -> int:
    from vaebench.config.compose import cells
    from vaebench.config.selection import parse, seeds
    from vaebench.report import stored, written
    from vaebench.results.costs import reference_records
    from vaebench.results.earlier_runs import noticed
    from vaebench.results.store import Store
    from vaebench.running.execute import Shard, execute, plan, unexpected
    from vaebench.running.later import end_of, told
    from vaebench.running.plan import announced, describe
    from vaebench.running.shipped_settings import with_settings

    # What is asked for.
    until = end_of(args.minutes)
    selection = parse(args.overrides)
    shard = None if args.shard is None else Shard.read(args.shard)
    preset = catalogue.load_preset(selection.preset)
    exhibits = [catalogue.load(name) for name in selection.tables]
    tables = [exhibit for exhibit in exhibits if isinstance(exhibit, Table)]
    figures = [exhibit for exhibit in exhibits if isinstance(exhibit, Figure)]

    if not tables:
        value_of = nothing_to_set(figures, selection.overrides, args)
        return drawings.draw_only(figures, results_root(value_of.get("run.results")), args.dry_run)

    # For each table its cells and seeds.
    by_table = [
        (cells(table, preset, selection.overrides, args.only), seeds(table, preset, args.seeds))
        for table in tables
    ]

    # What is done already, and what is left to do. All cells have the same ``run.results``, the
    # user's or the default.
    store = Store(by_table[0][0][0].run.results)
    todo = plan(store, by_table, args.force, shard, not args.no_eval, until)
    if not args.force:
        tell(noticed(store, todo.todo))

    all_cells = [cell for chosen, _ in by_table for cell in chosen]
    if args.dry_run:
        drawings.would_draw(figures, store.root)
        print(describe(todo, args.force, with_settings(reference_records(), all_cells)))
        return 0

    if todo.todo:
        line = announced(todo, args.force, with_settings(reference_records(), all_cells))
        tell([line] if line else [])

    # The figures come first: if they cannot be written, this is known before the training.
    shown = drawings.draw(figures, store.root)
    launched = execute(todo, args.force, args.fail_fast, until)

    # Results that were read for the plan and have not changed are not read again.
    for table, (chosen, chosen_seeds) in zip(tables, by_table, strict=True):
        shown_table = table.narrowed((c.row, c.column) for c in chosen) if args.only else table
        shown[table.name] = stored.measured(shown_table, chosen, chosen_seeds, known=todo.ended())
    sys.stdout.write(written([shown[exhibit.name] for exhibit in exhibits], look=looks()))

    failed = unexpected(launched.outcomes, {table.name: table for table in tables})
    tell(f"{o.task.cell} seed {o.seed} {o.status}: {o.reason}" for o in failed)

    # The table is printed all the same; the exit code tells the interruption.
    if launched.stopped:
        raise Interrupted(launched.line)
    tell(
        told(todo, launched, args.minutes, "the same command", "the same command without --no-eval")
    )
    return 1 if failed else 0
