"""Cells x seeds: skip what is done, resume what is partial, isolate what fails, show progress.

A *task* is a pack of seeds of one cell. Tasks run in this process, or in several (``run.jobs``); a run's directory is
locked while somebody works on it, so any number of commands can share a results folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vaebench.config import Cell
from vaebench.errors import UserError
from vaebench.store import Store, is_current

FINISHED = ("done", "diverged")
"""Statuses that are not run again unless forced: the same run would end the same way."""


@dataclass(frozen=True)
class Task:
    """Some seeds of one cell, trained in one process. ``wait``: wait for runs that another process holds."""

    cell: Cell
    seeds: tuple[int, ...]
    force: bool = False
    wait: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one run: status done, failed, diverged, interrupted or busy; and why."""

    task: Task
    seed: int
    status: str
    reason: str = ""
    seconds: float = 0.0
    value: float | None = None


def measures_wanted(cell: Cell) -> list[str]:
    """Names of the measures that a finished run of ``cell`` has."""
    ev = cell.config["eval"]
    names = ["bound", "kl"]
    if ev["bound_samples"] > 1:
        names.append("active_units")
    if ev["iw_samples"]:
        names.append("iw_nll")
    return names


def status(store: Store, cell: Cell, seed: int) -> str:
    """done | failed | diverged | interrupted | trained (to be evaluated as this cell asks) | partial | new."""
    from vaebench.stats import Measure

    result = store.read_result(cell.key, seed)
    if result is None:
        return "partial" if (store.run_dir(cell.key, seed) / "checkpoint.safetensors").exists() else "new"
    if result.get("status") != "done":
        return str(result.get("status"))
    have = {m["name"] for m in result.get("measures") or [] if is_current(cell, Measure.from_dict(m))}
    return "done" if set(measures_wanted(cell)) <= have else "trained"


def pending(
    store: Store, cells: Iterable[Cell], seeds: Sequence[int], force: bool = False
) -> list[tuple[Cell, list[int]]]:
    """Each distinct cell with the seeds that are not finished, in order; cells that share runs come once."""
    out: dict[str, tuple[Cell, list[int]]] = {}
    for cell in cells:
        todo = [s for s in seeds if force or status(store, cell, s) not in FINISHED]
        if todo and cell.key not in out:
            out[cell.key] = (cell, todo)
    return list(out.values())


def tasks(todo: Sequence[tuple[Cell, list[int]]], jobs: int, pack: int, force: bool = False) -> list[Task]:
    """Packs of at most ``pack`` seeds; smaller ones where there would be fewer packs than ``jobs``."""
    out = []
    for cell, seeds in todo:
        share = -(-len(seeds) * len(todo) // jobs) if len(todo) < jobs else len(seeds)
        size = max(1, min(pack, share))
        out += [Task(cell, tuple(seeds[i : i + size]), force) for i in range(0, len(seeds), size)]
    return out


def jobs(setting: str | int, device: str) -> int:
    """Processes that train at the same time, from ``run.jobs``."""
    if setting != "auto":
        return int(setting)
    return 1 if device.startswith("cuda") else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def check_buildable(cells: Iterable[Cell]) -> None:
    """Build every distinct model, objective and optimiser once, tiny data aside; UserError names the first bad cell."""
    import numpy as np
    import torch

    from vaebench import models, objectives, optim

    seen = set()
    for cell in cells:
        if cell.key in seen:
            continue
        seen.add(cell.key)
        try:
            with torch.device("meta"):
                objectives.build(cell.config["objective"], models.build(cell.config["model"], np.zeros(1)))
            optim.build(cell.config["optim"])
        except UserError as e:
            raise UserError(f"{cell.row} / {cell.column}: {e}") from None


Say = Callable[[str, Any], None]
"""Progress: ('updates', n) more updates of one seed, ('cell', text) the cell in hand, ('outcome', Outcome)."""


def work(
    task: Task, say: Say = lambda kind, value: None, should_stop: Callable[[], bool] = lambda: False
) -> list[Outcome]:
    """Run one task: lock, train, evaluate, write results. An error becomes a failed outcome, never an exception."""
    from contextlib import ExitStack

    store = Store(task.cell.config["run"]["results"])
    outcomes: list[Outcome] = []
    with ExitStack() as held:
        mine = []
        for seed in task.seeds:
            if _acquire(held, store, task, seed, should_stop):
                mine.append(seed)
            else:
                outcomes.append(Outcome(task, seed, "busy", "another process works on it"))
        if not task.force:  # somebody may have finished it since the task was planned
            finished = [s for s in mine if status(store, task.cell, s) in FINISHED]
            outcomes += [_known(store, task, s) for s in finished]
            mine = [s for s in mine if s not in finished]
        if mine:
            outcomes += _train_and_evaluate(task, store, mine, say, should_stop)
    for o in outcomes:
        say("outcome", o)
    return outcomes


def _acquire(held, store: Store, task: Task, seed: int, should_stop: Callable[[], bool]) -> bool:
    from vaebench.store import Busy

    while True:
        try:
            held.enter_context(store.lock(task.cell.key, seed))
            return True
        except Busy:
            if not task.wait or should_stop():
                return False
            time.sleep(1.0)


def _known(store: Store, task: Task, seed: int) -> Outcome:
    result = store.read_result(task.cell.key, seed) or {}
    return Outcome(task, seed, result.get("status", "failed"), result.get("reason", ""), 0.0, _value(result))


def _value(result: dict[str, Any]) -> float | None:
    return next((m["value"] for m in result.get("measures") or [] if m["name"] == "bound"), None)


def _train_and_evaluate(
    task: Task, store: Store, seeds: list[int], say: Say, should_stop: Callable[[], bool]
) -> list[Outcome]:
    """Everything that needs torch is behind this function."""
    from vaebench.errors import Interrupted
    from vaebench.session import Session

    session = None
    try:
        session = Session(task.cell, store, seeds, force=task.force)
        results = session.run(say, should_stop)
    except Interrupted as e:
        return [Outcome(task, s, "interrupted", str(e)) for s in seeds]
    except OSError as e:  # a full disk: nothing more can be written, and what is there is intact
        return [Outcome(task, s, "failed", f"{e.strerror or e}: {e.filename or ''}".rstrip(": ")) for s in seeds]
    except Exception as e:
        if os.environ.get("VAEBENCH_DEBUG", "0") not in ("", "0"):
            raise
        reason = " ".join(str(e).split()) or type(e).__name__
        reason = reason if isinstance(e, UserError) else f"{type(e).__name__}: {reason}"
        for s in seeds:
            if session is not None and not session.finished(s):
                session.write_failure(s, reason)
        return [Outcome(task, s, "failed", reason) for s in seeds]
    return [
        Outcome(task, s, r["status"], r["reason"], r["seconds"], _value(r)) for s, r in zip(seeds, results, strict=True)
    ]
