"""A task in a job elsewhere, and the files that it writes for the command that waits.

The files tell how far the job is, and its outcomes. They are in a folder that the job and the
command share, a pair for each job: ``<index>.progress`` and ``<index>.outcomes``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vaebench.files import parse_json, write_atomic
from vaebench.results.status import Status
from vaebench.running.tasks import Outcome, Task, work
from vaebench.work.events import Advanced, Event, ShouldStop, Spared, Working

TELL_SECONDS = 2.0
"""Seconds between two times that a job writes down how far it is."""


@dataclass(frozen=True)
class Progress:
    """How far a job is since it last began.

    Attributes:
        advanced: Updates made.
        spared: Updates that need not be made; see ``work.events.Spared``.
        who: The cell and its seeds.
        line: How far they are, as a whole line.
        beside: See ``work.events.Working``.
    """

    advanced: int = 0
    spared: int = 0
    who: str = ""
    line: str = ""
    beside: str | None = None


def carry_out(folder: Path, index: int, task: Task, should_stop: ShouldStop) -> bool:
    """Work on a task until its runs have ended, including those that another process holds.

    Args:
        folder: Folder of the job's files.
        index: Index of the job in it.
        task: The task. A job that begins again does not throw away what it has done before
            (``Task.force``).
        should_stop: Whether to save the state and stop.

    Returns:
        True if the outcomes are written. False if it was stopped; the same call continues.
    """
    # If there is a progress file, this job has begun before and now begins again.
    notes = _Notes(_progress(folder, index))
    task = replace(task, wait=True, force=task.force and not notes.path.exists())
    outcomes: dict[int, Outcome] = {}

    # A task that waits for locks still reports a run as busy if another process took its lock
    # while it worked. Such runs are tried again.
    while True:
        outcomes |= {outcome.seed: outcome for outcome in work(task, notes, should_stop)}
        busy = tuple(seed for seed, outcome in outcomes.items() if outcome.status is Status.BUSY)
        if should_stop() and any(
            outcome.status in (Status.BUSY, Status.INTERRUPTED) for outcome in outcomes.values()
        ):
            return False
        if not busy:
            break
        task = replace(task, seeds=busy, force=False)

    write_atomic(
        _outcomes(folder, index), json.dumps([_as_dict(outcome) for outcome in outcomes.values()])
    )
    return True


def read_progress(folder: Path, index: int) -> Progress | None:
    """Return how far a job is; None before it has begun."""
    content = _read(_progress(folder, index))
    return Progress(**content) if isinstance(content, dict) else None


def read_outcomes(folder: Path, index: int, task: Task) -> list[Outcome] | None:
    """Return the outcomes of a job's runs, as outcomes of ``task``.

    None until the job has ended.
    """
    content = _read(_outcomes(folder, index))
    if not isinstance(content, list):
        return None
    return [Outcome(task, **{**entry, "status": Status(entry["status"])}) for entry in content]


def forget(folder: Path, indices: Sequence[int]) -> None:
    """Remove the files of jobs."""
    for index in indices:
        _progress(folder, index).unlink(missing_ok=True)
        _outcomes(folder, index).unlink(missing_ok=True)


class _Notes:
    """Writes a worker's progress down, at most every TELL_SECONDS, the first time at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._now = Progress()
        self._written = -TELL_SECONDS

    def __call__(self, event: Event) -> None:
        match event:
            case Advanced():
                self._now = replace(self._now, advanced=self._now.advanced + event.updates)
            case Spared():
                self._now = replace(self._now, spared=self._now.spared + event.updates)
            case Working():
                self._now = replace(self._now, who=event.who, line=event.line, beside=event.beside)
            # The end of a run is written at once.
            case Outcome():
                self._written = -TELL_SECONDS

        # Files on a shared disk are slow, and events may come with every update.
        now = time.monotonic()
        if now - self._written >= TELL_SECONDS:
            self._written = now
            write_atomic(self.path, json.dumps(asdict(self._now)))


def _progress(folder: Path, index: int) -> Path:
    return folder / f"{index}.progress"


def _outcomes(folder: Path, index: int) -> Path:
    return folder / f"{index}.outcomes"


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {k: v for k, v in vars(outcome).items() if k != "task"}


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
