"""``vaebench run table=NAME``: train and evaluate what is not done yet, then print the table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.config import catalogue
from vaebench.errors import Interrupted, UserError
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
    from vaebench.report import render
    from vaebench.report.layout import View
    from vaebench.results.rekey import of_earlier_version, refuse_outdated
    from vaebench.results.store import Store
    from vaebench.running import tasks as runner

    selection = parse(args.overrides)
    preset = catalogue.load_preset(selection.preset)
    every = [catalogue.load_table(name) for name in selection.tables]
    tables, drawn = [t for t in every if not t.drawn], [t for t in every if t.drawn]
    if not tables:
        given = nothing_to_set(drawn, selection.overrides, args)
        return _draw_only(drawn, results_root(given.get("run.results")), args.dry_run)
    chosen = {t.name: cells(t, preset, selection.overrides, args.only) for t in tables}
    wanted = {t.name: seeds(t, preset, args.seeds) for t in tables}
    store = Store(next(iter(chosen.values()))[0].config["run"]["results"])
    todo = _merge([runner.pending(store, chosen[t.name], wanted[t.name], args.force) for t in tables])
    runner.check(cell for cell, _ in todo)  # a value that is refused is known before anything is written
    if not args.force:
        refuse_outdated(store, todo)
        earlier = of_earlier_version(store, [cell for cell, _ in todo])
        if earlier:
            print(f"vaebench: {earlier}", file=sys.stderr)
    if args.dry_run:
        _would_draw(drawn, store.root)
        return _dry_run(store, tables, chosen, wanted, args.force)
    pages = _draw(drawn, store.root)  # first: what cannot be written is known before the training
    outcomes, stopped = _run(
        store, [(c, s) for t in tables for c in chosen[t.name] for s in wanted[t.name]], todo, args
    )
    view = View(width=streams.width())  # one: notes that the tables share are printed once
    for table in tables:
        shown = table.narrowed((c.row, c.column) for c in chosen[table.name]) if args.only else table
        pages[table.name] = render(shown, store.frame(chosen[table.name], wanted[table.name]), "text", view)
    _print(every, pages)
    by_name = {t.name: t for t in tables}
    bad = [
        o
        for o in runner.bad(outcomes)
        if not (o.status == "diverged" and by_name[o.task.cell.table].rows[o.task.cell.row].diverges)
    ]
    for o in bad:
        print(f"vaebench: {o.task.cell} seed {o.seed} {o.status}: {o.reason}", file=sys.stderr)
    if stopped:
        raise Interrupted("interrupted; the state is saved, the same command goes on from here")
    return 1 if bad else 0


def _run(store, every, todo, args: Namespace):
    from vaebench.running import tasks as runner

    outcomes, stopped = _known(store, every, todo), False
    if not todo:
        return outcomes, stopped
    runner.preflight(c for c, _ in todo)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"run.results={store.root}: this folder cannot be made: {e.strerror or e}") from None
    done = len({runner.unit(c) for c, _ in every}) - len(todo)
    if done:
        print(f"{done} of {done + len(todo)} cells are finished already", file=sys.stderr)
    for number, part in enumerate(_rounds(todo)):
        bad = {(o.task.cell.key, o.seed) for o in runner.bad(outcomes)}
        part = [(c, [s for s in seeds if (c.key, s) not in bad]) for c, seeds in part]
        more, stopped = _round(part, args.force and number == 0, args.fail_fast)
        outcomes += more
        if stopped or (args.fail_fast and runner.bad(outcomes)):
            break
    tried = {(runner.unit(o.task.cell), o.seed) for o in outcomes}
    left = sum((runner.unit(c), s) not in tried for c, seeds in todo for s in seeds)
    if left and args.fail_fast and not stopped:
        print(f"{left} runs were not begun after the failure (--fail-fast)", file=sys.stderr)
    return outcomes, stopped


def _round(todo, force: bool, fail_fast: bool):
    """Run cells that share no run; wait for those that another process has in hand."""
    from dataclasses import replace

    from vaebench.running import pool
    from vaebench.running import tasks as runner
    from vaebench.running.progress import Progress

    todo = [(c, seeds) for c, seeds in todo if seeds]
    if not todo:
        return [], False
    settings = todo[0][0].config["run"]
    jobs = runner.jobs(settings["jobs"], _device(settings["device"]))
    tasks = runner.tasks(todo, jobs, settings["pack"], force)
    progress = Progress(todo, sum(c.config["train"]["updates"] * len(s) for c, s in todo))
    try:
        outcomes, stopped = pool.run_all(tasks, jobs, progress, fail_fast)
        busy = [o for o in outcomes if o.status == "busy"]
        if busy and not stopped and not (fail_fast and runner.bad(outcomes)):
            progress.line(f"waiting for {len(busy)} runs that another process works on")
            again = [replace(o.task, seeds=(o.seed,), wait=True, force=False) for o in busy]
            more, stopped = pool.run_all(again, jobs, progress, fail_fast)
            outcomes = [o for o in outcomes if o.status != "busy"] + more
    finally:
        progress.close()
    return outcomes, stopped


def _merge(per_table):
    """Distinct cells of several tables (see runner.unit) with all their seeds."""
    from vaebench.running.tasks import unit

    out = {}
    for cell, seeds in (pair for table in per_table for pair in table):
        known = out.setdefault(unit(cell), (cell, []))[1]
        known.extend(s for s in seeds if s not in known)
    return list(out.values())


def _rounds(todo):
    """Cells that share runs, and differ in their evaluation only, one after the other: the first one trains."""
    rounds = []
    for cell, seeds in todo:
        part = next((r for r in rounds if cell.key not in {c.key for c, _ in r}), None)
        if part is None:
            rounds.append(part := [])
        part.append((cell, seeds))
    return rounds


def _known(store, every, todo):
    """Outcomes of runs that ended badly before and are not run again: they still count for the exit code."""
    from vaebench.running.tasks import Outcome, Task, status

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


def _dry_run(store, tables, chosen, wanted, force: bool) -> int:
    from vaebench.formatting import duration
    from vaebench.report.costs import estimate, evaluation, reference_records
    from vaebench.running import tasks as runner
    from vaebench.verbs import aligned

    recorded = [*store.runs(), *reference_records()]
    known_total, evaluations, counted = 0.0, 0.0, {}
    for t in tables:
        rows = [("row", "column", "seeds", "status", "updates", "time per seed")]
        for cell in chosen[t.name]:
            states = {s: runner.status(store, cell, s) for s in wanted[t.name]}
            open_ = force or any(state not in runner.FINISHED for state in states.values())
            # What nothing is left of has its own cost, wherever it ran, and is told without torch.
            kind = _device(cell.config["run"]["device"]).partition(":")[0] if open_ else ""
            budget, cost = cell.config["train"], estimate(recorded, cell, kind)
            updates = budget["updates"] if budget["unit"] == "updates" else f"{budget['updates']} {budget['unit']}"
            for s, state in states.items():
                left = 1.0 if force else _left(runner, store, cell, s, state)
                if left and (cell.key, s) not in counted:  # tables may share runs
                    counted[cell.key, s] = "unknown" if cost is None else "known"
                    known_total += (cost or 0.0) * left
                elif not left and state not in runner.FINISHED and (runner.unit(cell), s) not in counted:
                    seconds = evaluation(recorded, cell, kind)
                    counted[runner.unit(cell), s] = "evaluation" if seconds else "evaluation of unknown cost"
                    evaluations += seconds or 0.0
            found = list(states.values())
            count = ", ".join(f"{found.count(s)} {s}" for s in dict.fromkeys(found))
            seeds = ",".join(map(str, wanted[t.name]))
            rows.append((cell.row, cell.column, seeds, count, updates, "?" if cost is None else duration(cost)))
        print(f"{t.name} preset={chosen[t.name][0].preset}\n{aligned(rows, '  ')}")
    print(f"to do: {_to_do(list(counted.values()), duration(known_total), duration(evaluations))}")
    return 0


def _to_do(runs: list[str], known: str, evaluations: str) -> str:
    """What is left in words.

    ``runs``: for each 'known', 'unknown' (by its cost), 'evaluation' or 'evaluation of unknown cost'; ``known`` and
    ``evaluations``: the time of those whose cost is known.
    """

    def several(kind: str, words: str) -> list[str]:
        count = runs.count(kind)
        plural, them = ("", "it") if count == 1 else ("s", "them")
        return [words.format(count=count, s=plural, them=them)] if count else []

    parts = several("known", f"about {known} of one process for {{count}} run{{s}}")
    parts += several("unknown", "{count} run{s} of unknown cost (nothing like {them} is recorded)")
    parts += several("evaluation", f"the evaluation of {{count}} trained run{{s}} (about {evaluations})")
    parts += several("evaluation of unknown cost", "the evaluation of {count} trained run{s} (of unknown cost)")
    return ", and ".join(parts) or "nothing"


def _left(runner, store, cell, seed: int, state: str) -> float:
    """Which part of a run's training is still to be done, by its status and its curve."""
    if state in runner.FINISHED or state == "trained":
        return 0.0
    return 1.0 - runner.share_done(store, cell, seed)
