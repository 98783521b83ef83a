"""Carrying out what is to be done: checks first, then tasks by a launcher, until every run has an outcome."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.results.store import Store
from vaebench.running import launchers
from vaebench.running import tasks as work
from vaebench.running.launchers import Launched
from vaebench.running.progress import Progress
from vaebench.running.tasks import Outcome, Task

Todo = list[tuple[Cell, list[int]]]
"""Distinct cells, each with the seeds that are to be run."""


class Plan(NamedTuple):
    """What is asked for and what of it is to be done.

    Attributes:
        store: where the runs are kept.
        asked: every run that was asked for, a cell and a seed.
        todo: what is not finished, cells that tables share once.
    """

    store: Store
    asked: list[tuple[Cell, int]]
    todo: Todo


def plan(store: Store, wanted: Sequence[tuple[Sequence[Cell], Sequence[int]]], force: bool = False) -> Plan:
    """What there is to do for cells with their seeds; ``force``: all of it again.

    Raises UserError for a cell whose settings are refused.
    """
    todo = _merged(work.pending(store, cells, seeds, force) for cells, seeds in wanted)
    work.check(cell for cell, _ in todo)  # a value that is refused is known before anything is written
    return Plan(store, [(c, s) for cells, seeds in wanted for c in cells for s in seeds], todo)


def execute(plan: Plan, force: bool = False, fail_fast: bool = False) -> Launched:
    """Carry a plan out, with progress on the standard error.

    Args:
        plan: see ``plan``.
        force: throw away the runs there are.
        fail_fast: begin nothing new after the first failure.

    Returns:
        The outcome of every run that was tried, and of those that had diverged before; whether the user stopped it.

    Raises:
        UserError: settings or data are refused, or the results folder cannot be made.
    """
    outcomes = _diverged_before(plan)
    if not plan.todo:
        return Launched(outcomes, False)

    work.preflight(cell for cell, _ in plan.todo)
    _make_folder(plan.store)
    finished = len({work.unit(cell) for cell, _ in plan.asked}) - len(plan.todo)
    if finished:
        print(f"{finished} of {finished + len(plan.todo)} cells are finished already", file=sys.stderr)

    stopped = False
    for number, part in enumerate(_rounds(plan.todo)):
        bad = {(o.task.cell.key, o.seed) for o in work.bad(outcomes)}
        left = [(cell, [s for s in seeds if (cell.key, s) not in bad]) for cell, seeds in part]
        more, stopped = _round(left, force and number == 0, fail_fast)
        outcomes += more
        if stopped or (fail_fast and work.bad(outcomes)):
            break

    if fail_fast and not stopped:
        _tell_left(plan, outcomes)
    return Launched(outcomes, stopped)


def device_of(setting: str) -> str:
    """``run.device`` with auto decided."""
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _round(todo: Todo, force: bool, fail_fast: bool) -> Launched:
    """Run cells that share no run; wait for those that another process has in hand."""
    todo = [(cell, seeds) for cell, seeds in todo if seeds]
    if not todo:
        return Launched([], False)

    settings = todo[0][0].config["run"]
    jobs = work.jobs(settings["jobs"], device_of(settings["device"]))
    tasks = work.tasks(todo, jobs, settings["pack"], force)
    progress = Progress(todo, sum(cell.config["train"]["updates"] * len(seeds) for cell, seeds in todo))
    try:
        outcomes, stopped = launchers.choose(jobs, len(tasks)).launch(tasks, progress, fail_fast)
        busy = [o for o in outcomes if o.status == "busy"]
        if busy and not stopped and not (fail_fast and work.bad(outcomes)):
            progress.line(f"waiting for {len(busy)} runs that another process works on")
            again = [replace(o.task, seeds=(o.seed,), wait=True, force=False) for o in busy]
            more, stopped = launchers.choose(jobs, len(again)).launch(again, progress, fail_fast)
            outcomes = [o for o in outcomes if o.status != "busy"] + more
    finally:
        progress.close()
    return Launched(outcomes, stopped)


def _merged(parts: Iterable[Todo]) -> Todo:
    """Distinct cells of several tables (see ``tasks.unit``) with all their seeds."""
    out: dict[tuple[str, str], tuple[Cell, list[int]]] = {}
    for part in parts:
        for cell, seeds in part:
            known = out.setdefault(work.unit(cell), (cell, []))[1]
            known.extend(s for s in seeds if s not in known)
    return list(out.values())


def _rounds(todo: Todo) -> list[Todo]:
    """Cells that share runs, and differ in their evaluation only, one after the other: the first one trains."""
    rounds: list[Todo] = []
    for cell, seeds in todo:
        part = next((r for r in rounds if cell.key not in {c.key for c, _ in r}), None)
        if part is None:
            part = []
            rounds.append(part)
        part.append((cell, seeds))
    return rounds


def _diverged_before(plan: Plan) -> list[Outcome]:
    """Outcomes of runs that diverged before and are not run again: they still count for the exit code."""
    again = {(cell.key, s) for cell, seeds in plan.todo for s in seeds}
    known = {(cell.key, s): cell for cell, s in plan.asked if (cell.key, s) not in again}
    bad = {place: cell for place, cell in known.items() if work.status(plan.store, cell, place[1]) == "diverged"}
    return [
        Outcome(Task(cell, (seed,)), seed, "diverged", (plan.store.read_result(cell.key, seed) or {}).get("reason", ""))
        for (_, seed), cell in bad.items()
    ]


def _make_folder(store: Store) -> None:
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"run.results={store.root}: this folder cannot be made: {e.strerror or e}") from None


def _tell_left(plan: Plan, outcomes: list[Outcome]) -> None:
    tried = {(work.unit(o.task.cell), o.seed) for o in outcomes}
    left = sum((work.unit(cell), s) not in tried for cell, seeds in plan.todo for s in seeds)
    if left:
        print(f"{left} runs were not begun after the failure (--fail-fast)", file=sys.stderr)
