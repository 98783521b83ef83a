"""Notes on the jobs handed to an engine, so that a later command finds them.

A batch is a folder ``<results>/.jobs/<engine>/<batch>/`` with a note of the runs of each of its
jobs. Beside it are the files that the jobs write (``launchers/carried.py``) and their logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.files import parse_json, write_atomic
from vaebench.results.lock import Busy, hold
from vaebench.running.launchers import carried
from vaebench.running.launchers.stop import Stop
from vaebench.running.tasks import Task

FOLDER = ".jobs"
"""Name of the folder for jobs, in the results folder."""

NOTE = "batch.json"
"""Name of the note, in the folder of a batch."""

Run = tuple[str, int]
"""Key and seed of a run."""


class Note(NamedTuple):
    """The note of a batch.

    Attributes:
        jobs: The runs of each job.
        asks: What each job asks its engine for; see ``Engine.asks``. None in notes of earlier
            versions.
    """

    jobs: list[list[Run]]
    asks: Mapping[str, Any] | None = None

    def runs(self, number: int) -> list[Run]:
        """Return the runs of a job; none if the note is damaged, so that they are not known."""
        return self.jobs[number] if number < len(self.jobs) else []


class Batches:
    """The batches of one engine.

    Args:
        results: The results folder.
        engine: The engine's name.
    """

    def __init__(self, results: Path, engine: str) -> None:
        self.home = results.resolve() / FOLDER / engine

    def folder(self, batch: str) -> Path:
        """Return the folder of a batch."""
        return self.home / batch

    def begin(self, tasks: Sequence[Task], asks: Mapping[str, Any]) -> str:
        """Note a new batch, one job for each task, before it is handed over; return its name."""
        batch = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
        jobs = [[[t.cell.key, seed] for seed in t.seeds] for t in tasks]
        write_atomic(self.folder(batch) / NOTE, json.dumps({"jobs": jobs, "asks": asks}))
        return batch

    def noted(self) -> dict[str, Note]:
        """Return the notes of all batches that are not forgotten."""
        return {path.parent.name: _read(path) for path in sorted(self.home.glob(f"*/{NOTE}"))}

    def has_elsewhere(self, batch: str, run: Run) -> bool:
        """Whether a batch other than this one has a run."""
        others = {name: note for name, note in self.noted().items() if name != batch}
        return any(run in runs for note in others.values() for runs in note.jobs)

    def forget(self, batch: str) -> None:
        """Remove the files of a batch whose jobs have ended, except for the logs."""
        # The note goes first: a batch without one is not looked at by any command.
        folder = self.folder(batch)
        jobs = len(_read(folder / NOTE).jobs)
        (folder / NOTE).unlink(missing_ok=True)
        carried.forget(folder, range(jobs))

        for path in (*folder.glob("*.pkl"), *folder.glob(".submission_file_*.sh")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    @contextlib.contextmanager
    def one_at_a_time(self, stop: Stop) -> Iterator[None]:
        """Let only one command at a time find jobs in flight and hand over others.

        A command that is stopped does not wait any longer.
        """
        with contextlib.ExitStack() as stack:
            while not stop():
                try:
                    stack.enter_context(hold(self.home))
                    break
                except Busy:
                    time.sleep(1)
            yield


def _read(path: Path) -> Note:
    """Return the note of a batch; it has no jobs if it is damaged or does not exist."""
    try:
        # Notes of earlier versions are the list of jobs alone.
        note = parse_json(path.read_bytes())
        jobs, asks = (note, None) if isinstance(note, list) else (note["jobs"], note["asks"])
        return Note([[(str(key), int(seed)) for key, seed in runs] for runs in jobs], asks)
    except (OSError, ValueError, TypeError, KeyError):
        return Note([])
