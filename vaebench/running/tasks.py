"""Tasks: skip what is done, resume what is partial, isolate what fails, show progress.

A *task* is a pack of seeds of one cell. Tasks run wherever a launcher puts them
(``running/launchers/``). A run's directory is locked while a process works on it, so any number of
commands can share a results folder.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vaebench import tracking
from vaebench.config.cells import Cell, canonical
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.formatting import first_line
from vaebench.results import curves, flags
from vaebench.results.current import is_current
from vaebench.results.lock import Busy, Held
from vaebench.results.result_file import readable_measures
from vaebench.results.standing import Record, record
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running import accepted
from vaebench.running.accepted import loader_of, shape_of
from vaebench.work.events import Event, Say, ShouldStop, Spared, never, nobody

if TYPE_CHECKING:
    from vaebench.data.info import DataInfo

log = logging.getLogger(__name__)

ANEW = Record(Status.NEW, {})
"""What is known of a run whose results are thrown away."""

WAIT_SECONDS = 1.0
"""Seconds between two looks at a run that another process holds."""


@dataclass(frozen=True)
class Task:
    """Some seeds of one cell, trained in one process.

    Attributes:
        cell: The cell.
        seeds: The seeds.
        force: Throw existing runs away.
        wait: Wait for runs that another process holds.
        evaluate: Evaluate what is trained; if not, that is left for later.
    """

    cell: Cell
    seeds: tuple[int, ...]
    force: bool = False
    wait: bool = False
    evaluate: bool = True


@dataclass(frozen=True)
class Outcome(Event):
    """How one run ended, and why.

    Attributes:
        task: The task that the run was a part of.
        seed: Seed of the run.
        status: done, failed, diverged, interrupted or busy; trained, if it is not to be evaluated.
        reason: Why, in a line.
        seconds: Time that it took.
        value: Value of the measure called ``measure``, which is the cell's own if the run has it.
        measure: Name of that measure.
        flags: What is wrong with the run or its measures, in short; see ``vaebench.results.flags``.
    """

    task: Task
    seed: int
    status: Status
    reason: str = ""
    seconds: float = 0.0
    value: float | None = None
    measure: str = "bound"
    flags: str = ""


def bad(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the runs that failed or diverged."""
    return [o for o in outcomes if o.status.bad]


def share_done(store: Store, cell: Cell, seed: int) -> float:
    """Return the share of its budget that a run had used at its last validation.

    It is read from the curve, without the checkpoint.
    """
    return curves.share_done(cell, curves.validated(store.run_dir(cell.key, seed)))


def unit(cell: Cell) -> tuple[str, str]:
    """Return a key for the training and the evaluation of a cell.

    Work with the same key is done only once, even if several tables ask for it.
    """
    return cell.key, canonical(cell.config["eval"])


def tasks(
    todo: Sequence[tuple[Cell, list[int]]],
    jobs: int,
    pack: int,
    force: bool = False,
    evaluate: bool = True,
) -> list[Task]:
    """Divide the work into packs of at most ``pack`` seeds.

    The packs are smaller if there would be fewer of them than ``jobs``.
    """
    # With fewer cells than processes, the seeds of a cell are divided among several of them: about
    # jobs / len(todo), so that few stand idle.
    planned = []
    for cell, seeds in todo:
        seeds_per_job = -(-len(seeds) * len(todo) // jobs) if len(todo) < jobs else len(seeds)
        size = max(1, min(pack, seeds_per_job))
        packs = [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]
        planned += [Task(cell, pack, force, evaluate=evaluate) for pack in packs]
    return planned


def jobs(setting: str | int, device: str) -> int:
    """Return the number of processes that train at the same time, from ``run.jobs``."""
    if setting != "auto":
        return int(setting)
    if device.startswith("cuda") or not hasattr(os, "sched_getaffinity"):
        return 1
    return len(os.sched_getaffinity(0))


def check(cells: Iterable[Cell]) -> None:
    """Check all that can be known of ``cells`` before anything is read or written.

    Their devices exist. Their models, objectives and optimisers accept their settings: each
    distinct one is built once, which takes no memory, unless it is recorded as accepted. Their data
    have as many examples as are asked for, and are of the kind that the model reads; what only the
    files know is left to ``preflight``. Raises UserError for the first cell that is refused, naming
    its row and column.
    """
    # Settings of shipped tables are recorded as accepted: torch need not be loaded to build them.
    cells = list(cells)
    accepted_digests = accepted.recorded()
    unrecorded = [cell for cell in cells if accepted.digest(cell) not in accepted_digests]

    check_built(unrecorded)
    tracking.check(dict.fromkeys(name for cell in cells for name in cell.run.track))
    _check_places(cells)


def check_built(cells: Iterable[Cell]) -> None:
    """Build every distinct model, objective and optimiser of some cells.

    Raises UserError as ``check`` does. If there are no cells, nothing is built and torch is not
    loaded.
    """
    cells = list(cells)

    # Seeds, tables and presets share models: build each combination of settings once.
    distinct: dict[str, Cell] = {}
    for cell in cells:
        distinct.setdefault(accepted.digest(cell), cell)

    if not distinct:
        return

    import torch

    from vaebench import models, objectives, optim
    from vaebench.optim.base import refuse_unrated
    from vaebench.training.engines import check_precision, group_of

    for cell in distinct.values():
        config = cell.config
        try:
            # Tensors on this device have shapes and no memory.
            with torch.device("meta"):
                objective = objectives.build(
                    config["objective"], models.build(config["model"], _info(cell))
                )
            _check_size(objective)
            check_precision(objective, cell.train.precision)

            # An empty module is enough to have the settings checked.
            models.start(torch.nn.Module(), config["model"], 0)
            rates = optim.build(config["optim"]).rates
            refuse_unrated(config["optim"]["name"], rates, group_of(objective).values())
        except UserError as error:
            raise UserError(f"{cell.row} / {cell.column}: {error}") from None
        except RuntimeError as error:  # torch cannot multiply such sizes
            raise UserError(
                f"{cell.row} / {cell.column}: these settings cannot be built: {first_line(error)}"
            ) from None
    _check_orders(cells)


def _check_orders(cells: list[Cell]) -> None:
    """Check that models can read their data, and that the data have the order asked for."""
    from vaebench import models
    from vaebench.training.batches import check_order

    distinct = {
        canonical([c.config["data"], c.config["model"]["name"], c.train.order]): c for c in cells
    }
    for cell in distinct.values():
        loader = loader_of(cell)
        if loader is None:
            continue

        models.check_data(cell.config["model"]["name"], loader.name, loader.kind)
        check_order(cell.train.order, loader.name, loader.kind is Kind.TOKENS)


MOST_PARAMETERS = 10**9
"""Most parameters of a model: 4 GB, and as much again for every moment of the optimiser."""


def _check_size(objective: Any) -> None:
    count = sum(p.numel() for p in objective.parameters())
    if count > MOST_PARAMETERS:
        raise UserError(
            f"a model of {count:,} parameters by these settings; allowed: at most "
            f"{MOST_PARAMETERS:,}"
        )


def _check_places(cells: list[Cell]) -> None:
    """Check that the devices of cells exist, and the settings of their data, see ``data.check``.

    Data are not read, so only what is known without them is checked.
    """
    from vaebench import data

    for device in _devices(cells):
        if device not in ("auto", "cpu"):  # every machine has these
            from vaebench.running.device import pick_device

            pick_device(device)

    distinct = {canonical([c.config["data"], c.train.cases]): c for c in cells}
    for cell in distinct.values():
        if loader_of(cell) is not None:
            data.check(cell.config["data"], cell.train.cases)


def _devices(cells: list[Cell]) -> Iterable[str]:
    """Return the devices that this machine must have.

    It need not have those of tasks that an engine runs elsewhere.
    """
    return dict.fromkeys(cell.run.device for cell in cells if cell.run.launcher == "local")


def _info(cell: Cell) -> DataInfo:
    """Return what a model is told about data that are not read.

    It has their kind and shape, a mean of 0, and a longest of 1.
    """
    import numpy as np

    from vaebench.data.info import DataInfo

    loader = loader_of(cell)
    shape = shape_of(cell)
    return DataInfo(
        np.zeros(math.prod(shape)), loader.kind if loader else Kind.BITS, shape, longest=1
    )


def preflight(cells: Iterable[Cell]) -> None:
    """Check that everything is there that ``cells`` need; their settings were checked before.

    They need their devices and their data, which are fetched and prepared now. The data must also
    fit their models and batches. Raises UserError (DataError for data) for the first cell that
    lacks something, before anything is trained.
    """
    from vaebench import models
    from vaebench.data.splits import with_cases
    from vaebench.running import loaded
    from vaebench.running.device import pick_device
    from vaebench.training.build import batches_of, too_short

    cells = list(cells)
    for device in _devices(cells):
        pick_device(device)

    # Data are read once for all cells that ask for the same. Only the last data read are kept in
    # memory, so the cells are grouped by them.
    by_data: dict[str, list[Cell]] = {}
    for cell in cells:
        by_data.setdefault(canonical(cell.config["data"]), []).append(cell)

    for cells_of_data in by_data.values():
        splits = loaded.load(cells_of_data[0].config["data"])

        # Cells with the same model, objective and training are checked once.
        distinct = {
            canonical([cell.config[part] for part in ("model", "objective", "train")]): cell
            for cell in cells_of_data
        }
        for cell in distinct.values():
            models.check_data(cell.config["model"]["name"], splits.name, splits.kind)
            warning = too_short(
                cell.config, batches_of(cell.config, with_cases(splits, cell.train.cases))
            )
            if warning:
                log.warning("%s / %s: %s", cell.row, cell.column, warning)


def work(task: Task, say: Say = nobody, should_stop: ShouldStop = never) -> list[Outcome]:
    """Run one task: lock, train, evaluate, write results.

    An error becomes a failed outcome, never an exception, except that VAEBENCH_DEBUG=1 raises
    unexpected errors.
    """
    store = Store(task.cell.run.results)
    if should_stop():
        return [
            Outcome(task, seed, Status.INTERRUPTED, "stopped before it began")
            for seed in task.seeds
        ]

    outcomes: list[Outcome] = []
    locks: list[Held] = []
    with contextlib.ExitStack() as stack:
        records: dict[int, Record] = {}

        # Take the lock of every run. What is known of a run is read only under its lock, since
        # another process may have changed it until then.
        for seed in task.seeds:
            try:
                locks.append(stack.enter_context(_acquired(store, task, seed, should_stop)))
                records[seed] = ANEW if task.force else record(store, task.cell, seed)
            except Busy:
                outcomes.append(Outcome(task, seed, Status.BUSY, "another process works on it"))
            except UserError as error:  # a result that cannot be read
                outcomes.append(Outcome(task, seed, Status.FAILED, str(error)))
            except OSError as error:  # the disk is full, or the folder must not be written
                place = error.filename or store.run_dir(task.cell.key, seed)
                blocked = isinstance(error, (FileExistsError, NotADirectoryError))
                reason = (
                    f"{place}: not a folder" if blocked else f"{error.strerror or error}: {place}"
                )
                outcomes.append(Outcome(task, seed, Status.FAILED, reason))

        if not task.force:  # another process may have finished it since the task was planned
            finished_seeds = [
                seed for seed, earlier in records.items() if earlier.status.ends(task.evaluate)
            ]
            outcomes += [known_outcome(task, seed, records.pop(seed)) for seed in finished_seeds]
            say(Spared(len(finished_seeds) * task.cell.train.updates))

        # A process that has lost a lock must stop, or two would write to the same run.
        if records:
            outcomes += _train_and_evaluate(
                task, store, records, say, lambda: should_stop() or _lost(locks)
            )

        if _lost(locks):  # another process has taken over: the rest is done once it has ended
            outcomes = [
                _taken(outcome) if outcome.status is Status.INTERRUPTED else outcome
                for outcome in outcomes
            ]

    for outcome in outcomes:
        say(outcome)
    return outcomes


@contextlib.contextmanager
def _acquired(store: Store, task: Task, seed: int, should_stop: ShouldStop) -> Iterator[Held]:
    """Hold the lock of a run for the time of the block.

    Raises Busy if another process has it and the task does not wait, or is told to stop meanwhile.
    """
    # The stack releases the lock when the block ends, however it ends.
    with contextlib.ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(store.lock(task.cell.key, seed))
                break
            except Busy:
                if not task.wait or should_stop():
                    raise
            time.sleep(WAIT_SECONDS)
        yield held


def _lost(locks: Iterable[Held]) -> bool:
    """Whether another process has taken one of these locks.

    It does so if this one was silent for too long.
    """
    return any(held.lost for held in locks)


def _taken(outcome: Outcome) -> Outcome:
    return replace(outcome, status=Status.BUSY, reason="another process has taken its lock")


def known_outcome(task: Task, seed: int, known: Record) -> Outcome:
    """Return the outcome of a run that had ended before."""
    reason = str(known.result.get("reason") or "")
    return Outcome(task, seed, known.status, reason, 0.0, *_shown(task, known.result))


def _shown(task: Task, result: Mapping[str, Any]) -> tuple[float | None, str, str]:
    """Return value and name of the measure that a run is reported with, and its flags.

    The measure is that of its table, else the bound; if the run is not evaluated, it is the bound
    of its validation.
    """
    # Only measures by this cell's own protocol count. Of several with one name the first wins.
    values = {
        measure.name: measure.value
        for measure in reversed(readable_measures(result))
        if is_current(task.cell, measure)
    }
    preferred = (task.cell.measure, "bound", "valid_bound")
    name = next((name for name in preferred if name in values), "bound")
    return values.get(name), name, flags.in_short(flags.of_result(result))


def _train_and_evaluate(
    task: Task, store: Store, records: Mapping[int, Record], say: Say, should_stop: ShouldStop
) -> list[Outcome]:
    """Train and evaluate runs; all that needs torch is behind this function.

    ``records`` has the runs whose locks are held, by seed.
    """
    from vaebench.running.session import Session, reason_of

    # The session need not read the results again: the locks are held since they were read.
    seeds = list(records)
    earlier = {seed: record.result for seed, record in records.items()}
    try:
        session = Session(task.cell, store, seeds, task.force, earlier)
        results = session.run(say, should_stop, task.evaluate)
    except Exception as error:
        return [Outcome(task, seed, Status.FAILED, reason_of(error)) for seed in seeds]

    return [
        Outcome(
            task,
            seed,
            Status(result["status"]),
            result["reason"],
            result["seconds"],
            *_shown(task, result),
        )
        for seed, result in zip(seeds, results, strict=True)
    ]
