"""``vaebench run table=NAME``: train and evaluate what is not done yet, then print the table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vaebench import config
from vaebench.errors import Interrupted
from vaebench.verbs import add_overrides

HELP = "Train and evaluate the cells of a table. Finished runs are skipped, partial ones resumed; the table is printed."


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "table=NAME[,NAME], preset=NAME, groups such as data=digits, values such as optim.rate=1e-3")
    parser.add_argument("--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only")
    parser.add_argument("--seeds", metavar="0-4", help="seeds to run; default: the preset's or the table's")
    parser.add_argument("--dry-run", action="store_true", help="show cells, seeds, what is done, and the expected cost")
    parser.add_argument("--force", action="store_true", help="throw away the runs of these cells and start anew")
    parser.add_argument("--fail-fast", action="store_true", help="begin nothing new after the first failure")


def run(args: Namespace) -> int:
    from vaebench.compose import cells, parse, seeds
    from vaebench.store import Store

    selection = parse(args.overrides)
    preset = config.load_preset(selection.preset)
    tables = [config.load_table(name) for name in selection.tables]
    chosen = {t.name: cells(t, preset, selection.overrides, args.only) for t in tables}
    wanted = {t.name: seeds(t, preset, args.seeds) for t in tables}
    store = Store(next(iter(chosen.values()))[0].config["run"]["results"])
    if args.dry_run:
        return _dry_run(store, tables, chosen, wanted)
    outcomes, stopped = _run(store, tables, chosen, wanted, args)
    _print(store, tables, chosen, wanted)
    bad = [o for o in outcomes if o.status in ("failed", "diverged")]
    for o in bad:
        print(f"vaebench: {o.task.cell} seed {o.seed} {o.status}: {o.reason}", file=sys.stderr)
    if stopped:
        raise Interrupted("interrupted; the state is saved, the same command goes on from here")
    return 1 if bad else 0


def _run(store, tables, chosen, wanted, args: Namespace):
    from dataclasses import replace

    from vaebench import pool, runner
    from vaebench.progress import Progress

    every = [(c, s) for t in tables for c in chosen[t.name] for s in wanted[t.name]]
    todo = _merge([runner.pending(store, chosen[t.name], wanted[t.name], args.force) for t in tables])
    skipped = _known(store, every, todo)
    if not todo:
        return skipped, False
    cell = todo[0][0]
    runner.check_buildable(c for c, _ in todo)
    jobs = runner.jobs(cell.config["run"]["jobs"], _device(cell.config["run"]["device"]))
    tasks = runner.tasks(todo, jobs, cell.config["run"]["pack"], args.force)
    total = sum(c.config["train"]["updates"] * len(s) for c, s in todo)
    progress = Progress({c.key: (str(c), set(s)) for c, s in todo}, total)
    done = len({c.key for c, _ in every}) - len(todo)
    if done:
        progress.line(f"{done} of {done + len(todo)} cells are finished already")
    try:
        outcomes, stopped = pool.run_all(tasks, jobs, progress, args.fail_fast)
        busy = [o for o in outcomes if o.status == "busy"]
        if busy and not stopped:
            progress.line(f"waiting for {len(busy)} runs that another process works on")
            again = [replace(o.task, seeds=(o.seed,), wait=True, force=False) for o in busy]
            more, stopped = pool.run_all(again, jobs, progress, args.fail_fast)
            outcomes = [o for o in outcomes if o.status != "busy"] + more
    finally:
        progress.close()
    return skipped + outcomes, stopped


def _merge(per_table):
    """Distinct cells of several tables with all their seeds; cells of different tables may share runs."""
    out = {}
    for cell, seeds in (pair for table in per_table for pair in table):
        out.setdefault(cell.key, (cell, []))[1].extend(s for s in seeds if s not in out[cell.key][1])
    return list(out.values())


def _known(store, every, todo):
    """Outcomes of runs that ended badly before and are not run again: they still count for the exit code."""
    from vaebench.runner import Outcome, Task, status

    again = {(c.key, s) for c, seeds in todo for s in seeds}
    bad = {(c.key, s): c for c, s in every if (c.key, s) not in again and status(store, c, s) == "diverged"}
    return [
        Outcome(Task(c, (s,)), s, "diverged", (store.read_result(c.key, s) or {}).get("reason", ""))
        for (_, s), c in bad.items()
    ]


def _device(setting: str) -> str:
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _print(store, tables, chosen, wanted) -> None:
    from vaebench.report import render

    texts = [render(t, store.frame(chosen[t.name], wanted[t.name]), "text").rstrip("\n") for t in tables]
    print("\n\n".join(texts))


def _dry_run(store, tables, chosen, wanted) -> int:
    from vaebench import runner
    from vaebench.progress import duration
    from vaebench.report.costs import estimate
    from vaebench.verbs import aligned

    recorded = list(store.runs())
    known_total, unknown = 0.0, 0
    for t in tables:
        rows = [("row", "column", "seeds", "status", "updates", "seconds per seed")]
        for cell in chosen[t.name]:
            states = [runner.status(store, cell, s) for s in wanted[t.name]]
            left = sum(s not in runner.FINISHED for s in states)
            cost = estimate(recorded, cell)
            known_total += (cost or 0.0) * left
            unknown += left if cost is None else 0
            count = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
            seeds = ",".join(map(str, wanted[t.name]))
            rows.append(
                (
                    cell.row,
                    cell.column,
                    seeds,
                    count,
                    cell.config["train"]["updates"],
                    "?" if cost is None else f"{cost:.0f}",
                )
            )
        print(f"{t.name} preset={chosen[t.name][0].preset}\n{aligned(rows, '  ')}")
    rest = f", and {unknown} runs of unknown cost (nothing like them is recorded)" if unknown else ""
    print(f"to do: about {duration(known_total)} of one process{rest}")
    return 0
