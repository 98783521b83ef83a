"""Carrying out what is to be done.

Checks come first. Then a launcher runs the tasks, until every run has an outcome.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from vaebench.config.cells import Cell
from vaebench.config.tables import Table
from vaebench.errors import UserError
from vaebench.formatting import counted
from vaebench.results.standing import Record, record
from vaebench.results.status import Status
from vaebench.results.store import Results, Store
from vaebench.running import launchers
from vaebench.running import tasks as work
from vaebench.running.device import device_name
from vaebench.running.launchers import Launched
from vaebench.running.launchers.engine import gpus_of
from vaebench.running.progress import Progress
from vaebench.running.tasks import Outcome, Task
from vaebench.settings.records import RunSettings

Todo = list[tuple[Cell, list[int]]]
"""Distinct cells, each with the seeds that are to be run."""


class Asked(NamedTuple):
    """A run that is asked for, and what was known of it when the command began."""

    cell: Cell
    seed: int
    known: Record


class Plan(NamedTuple):
    """What is asked for, and what of it is still to be done.

    Attributes:
        store: The store that keeps the runs.
        asked: Every run that was asked for, in the order of the tables, their cells and seeds.
        todo: What is not finished; cells that tables share are in it once.
        evaluate: Whether trained runs are evaluated; if not, a trained run counts as ended.
    """

    store: Store
    asked: list[Asked]
    todo: Todo
    evaluate: bool = True

    def ended(self) -> Results:
        """Return the results that this command does not change, by key and seed."""
        again = {(cell.key, seed) for cell, seeds in self.todo for seed in seeds}
        known = {(asked.cell.key, asked.seed): asked.known.result for asked in self.asked}
        return {place: result for place, result in known.items() if result and place not in again}


class Shard(NamedTuple):
    """Share ``number``, counted from 1, of ``of`` shares of the runs."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """Read a share such as ``3/8``. Raises UserError for anything else."""
        number, slash, of = text.partition("/")
        digits = all(part.isascii() and part.isdigit() and len(part) < 10 for part in (number, of))
        if not (slash and digits and 1 <= int(number) <= int(of)):
            shares = int(of) if slash and digits and int(of) else 8
            raise UserError(
                f"--shard {text!r}: write the number of a share and how many there "
                f"are, from 1/{shares} to {shares}/{shares}"
            )
        return cls(int(number), int(of))

    def share(self, runs: Iterable[tuple[Cell, int]]) -> list[tuple[Cell, int]]:
        """Return the runs that are in this share, in order.

        Runs are dealt out one after the other, whether they are finished or not. So the shares of
        one command never have a run in common and leave none out, whenever they are asked for.
        Cells with the same run are in the same share.
        """
        places: dict[tuple[str, int], int] = {}
        dealt = [
            (cell, seed, places.setdefault((cell.key, seed), len(places))) for cell, seed in runs
        ]
        return [(cell, seed) for cell, seed, place in dealt if place % self.of == self.number - 1]


def plan(
    store: Store,
    wanted: Sequence[tuple[Sequence[Cell], Sequence[int]]],
    force: bool = False,
    shard: Shard | None = None,
    evaluate: bool = True,
    until: float = math.inf,
) -> Plan:
    """Find out what there is to do for cells with their seeds.

    Args:
        store: The store with the runs.
        wanted: Cells with their seeds.
        force: Do all of it again.
        shard: Do only this share of it.
        evaluate: Whether trained runs are evaluated.
        until: See ``execute``.

    Raises:
        UserError: If a cell's settings are refused.
    """
    # Tables may share runs, so some may occur twice.
    runs = [(cell, seed) for cells, seeds in wanted for cell in cells for seed in seeds]
    if shard is not None:
        runs = shard.share(runs)

    asked = [Asked(cell, seed, _known(store, cell, seed, force)) for cell, seed in runs]
    todo = unfinished(asked, force, evaluate)

    # Settings that are refused, and an engine that is not installed, are known before anything is
    # written.
    work.check(cell for cell, _ in todo)
    if todo:
        launchers.choose(todo[0][0].run, 1, 1, until)
    return Plan(store, asked, todo, evaluate)


def _known(store: Store, cell: Cell, seed: int, force: bool) -> Record:
    try:
        return record(store, cell, seed)
    except UserError:
        if not force:
            raise
        return Record(Status.PARTIAL, {})  # it is thrown away, so it need not be read


def unfinished(asked: Iterable[Asked], force: bool = False, evaluate: bool = True) -> Todo:
    """Return distinct cells (see ``tasks.unit``) with all their unfinished seeds, in order."""
    by_unit: dict[tuple[str, str], tuple[Cell, list[int]]] = {}
    for cell, seed, known in asked:
        if known.status.ends(evaluate) and not force:
            continue

        seeds = by_unit.setdefault(work.unit(cell), (cell, []))[1]
        if seed not in seeds:
            seeds.append(seed)
    return list(by_unit.values())


def execute(
    plan: Plan, force: bool = False, fail_fast: bool = False, until: float = math.inf
) -> Launched:
    """Carry a plan out, with progress on the standard error.

    Args:
        plan: The plan; see ``plan``.
        force: Throw existing runs away.
        fail_fast: Begin nothing new after the first failure.
        until: When to save the state and stop, as ``time.monotonic`` counts.

    Returns:
        The outcome of every run that was tried, and of those that had diverged before; and whether
        the user stopped it, or the time was over.

    Raises:
        UserError: If settings or data are refused, or the results folder cannot be written.
    """
    outcomes = _diverged_before(plan)
    if not plan.todo:
        return Launched(outcomes, False)

    # All that the runs need must be there before any of them begins.
    work.preflight(cell for cell, _ in plan.todo)
    _make_folder(plan.store)
    finished_cells = len({work.unit(asked.cell) for asked in plan.asked}) - len(plan.todo)
    if finished_cells:
        print(
            f"{finished_cells} of {finished_cells + len(plan.todo)} cells are finished already",
            file=sys.stderr,
        )

    # Seeds that failed or diverged are left out of the next rounds. Only the first round throws
    # runs away: the others share the runs that it trains.
    launched = Launched([], False)
    for round_number, cells_of_round in enumerate(_rounds(plan.todo)):
        bad_runs = {(outcome.task.cell.key, outcome.seed) for outcome in work.bad(outcomes)}
        remaining = [
            (cell, [seed for seed in seeds if (cell.key, seed) not in bad_runs])
            for cell, seeds in cells_of_round
        ]
        launched = _round(
            _Round(remaining, force and round_number == 0, fail_fast, plan.evaluate, until)
        )
        outcomes += launched.outcomes
        if launched.stopped or launched.late or (fail_fast and work.bad(outcomes)):
            break

    if fail_fast and not (launched.stopped or launched.late):
        _tell_left(plan, outcomes)
    return launched._replace(outcomes=outcomes)


def unexpected(outcomes: Iterable[Outcome], tables: Mapping[str, Table]) -> list[Outcome]:
    """Return the runs that failed or diverged.

    Divergence is left out if the table says that the paper's own run diverged.
    """

    def diverges(outcome: Outcome) -> bool:
        return tables[outcome.task.cell.table].rows[outcome.task.cell.row].diverges

    return [
        outcome
        for outcome in work.bad(outcomes)
        if outcome.status is not Status.DIVERGED or not diverges(outcome)
    ]


def device_kind(settings: RunSettings) -> str:
    """Return what trains, ``cpu`` or ``cuda``.

    It is that of this machine, or of the jobs that an engine runs elsewhere.
    """
    if settings.launcher == "local":
        return device_name(settings.device).partition(":")[0]
    return "cuda" if gpus_of(settings) else "cpu"


class _Round(NamedTuple):
    """Cells that share no run, and how they are run; see ``execute``."""

    todo: Todo
    force: bool
    fail_fast: bool
    evaluate: bool
    until: float


def _round(asked: _Round) -> Launched:
    """Run the cells, then wait for those that another process is running."""
    todo = [(cell, seeds) for cell, seeds in asked.todo if seeds]
    if not todo:
        return Launched([], False)

    # Settings of ``run`` are the same for all cells of a command.
    settings = todo[0][0].run
    fail_fast = asked.fail_fast

    jobs = _at_once(settings, sum(len(seeds) for _, seeds in todo))
    tasks = work.tasks(todo, jobs, settings.pack, asked.force, asked.evaluate)

    progress = Progress(todo, sum(cell.train.updates * len(seeds) for cell, seeds in todo))
    try:
        launched = launchers.choose(settings, jobs, len(tasks), asked.until).launch(
            tasks, progress, fail_fast
        )

        # Runs that another process held are tried once more at the end, and then waited for.
        busy_runs = [outcome for outcome in launched.outcomes if outcome.status is Status.BUSY]
        goes_on = not (
            launched.stopped or launched.late or (fail_fast and work.bad(launched.outcomes))
        )
        if busy_runs and goes_on:
            progress.line(
                f"waiting for {counted(len(busy_runs), 'run')} that another process works on"
            )
            retries = [
                replace(outcome.task, seeds=(outcome.seed,), wait=True, force=False)
                for outcome in busy_runs
            ]
            launcher = launchers.choose(settings, jobs, len(retries), asked.until)
            other_outcomes = [
                outcome for outcome in launched.outcomes if outcome.status is not Status.BUSY
            ]
            launched = launcher.launch(retries, progress, fail_fast)
            launched = launched._replace(outcomes=other_outcomes + launched.outcomes)
    finally:
        progress.close()
    return launched


def _at_once(settings: RunSettings, runs: int) -> int:
    """Return how many tasks run at the same time, which decides how many seeds a pack has.

    An engine is assumed to have room for each run by itself. For GPUs the answer is 1, because a
    whole pack of seeds makes best use of one.
    """
    if settings.launcher == "local":
        return work.jobs(settings.jobs, device_name(settings.device))
    return 1 if device_kind(settings) == "cuda" else settings.parallel or runs


def _rounds(todo: Todo) -> list[Todo]:
    """Group cells into rounds, one after the other, in which no two cells share a run.

    Cells that share runs differ only in their evaluation. The first of them trains.
    """
    rounds: list[Todo] = []
    for cell, seeds in todo:
        round_ = next(
            (cells for cells in rounds if cell.key not in {other.key for other, _ in cells}), None
        )
        if round_ is None:
            round_ = []
            rounds.append(round_)
        round_.append((cell, seeds))
    return rounds


def _diverged_before(plan: Plan) -> list[Outcome]:
    """Return outcomes of runs that diverged before and are not run again.

    They still count for the exit code.
    """
    run_again = {(cell.key, seed) for cell, seeds in plan.todo for seed in seeds}

    # By key and seed, since tables may share a run: it counts once.
    by_run = {
        (cell.key, seed): (cell, seed, earlier)
        for cell, seed, earlier in plan.asked
        if earlier.status is Status.DIVERGED and (cell.key, seed) not in run_again
    }
    return [
        Outcome(Task(cell, (seed,)), seed, earlier.status, str(earlier.result.get("reason") or ""))
        for cell, seed, earlier in by_run.values()
    ]


def _make_folder(store: Store) -> None:
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(
            f"run.results={store.root}: this folder cannot be made: {e.strerror or e}"
        ) from None
    if not os.access(store.root, os.W_OK | os.X_OK):
        raise UserError(f"run.results={store.root}: nothing can be written there")


def _tell_left(plan: Plan, outcomes: list[Outcome]) -> None:
    tried = {(work.unit(outcome.task.cell), outcome.seed) for outcome in outcomes}
    left = sum((work.unit(cell), seed) not in tried for cell, seeds in plan.todo for seed in seeds)
    if left:
        print(f"{left} runs were not begun after the failure (--fail-fast)", file=sys.stderr)
