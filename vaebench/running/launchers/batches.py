"""What is written down of the jobs handed to an engine, so that a command finds those of one before it.

A batch is a folder ``<results>/.jobs/<engine>/<batch>/`` with a note of the runs of each of its jobs, beside what the
jobs write themselves (``launchers/carried.py``) and their logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vaebench.files import parse_json, write_atomic
from vaebench.results.lock import Busy, hold
from vaebench.running.launchers import carried
from vaebench.running.launchers.stop import Stop
from vaebench.running.tasks import Task

FOLDER = ".jobs"
"""In the results folder: what is known of jobs."""

NOTE = "batch.json"
"""In the folder of a batch: the runs of each of its jobs."""

Run = tuple[str, int]
"""Key and seed."""


class Batches:
    """The batches of one engine.

    Args:
        results: The results folder.
        engine: The engine's name.
    """

    def __init__(self, results: Path, engine: str) -> None:
        self.home = results.resolve() / FOLDER / engine

    def folder(self, batch: str) -> Path:
        """Where all of a batch is."""
        return self.home / batch

    def begin(self, tasks: Sequence[Task]) -> str:
        """Note a new batch of one job a task, before it is handed over; its name."""
        batch = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
        note = [[[t.cell.key, seed] for seed in t.seeds] for t in tasks]
        write_atomic(self.folder(batch) / NOTE, json.dumps(note))
        return batch

    def noted(self) -> dict[str, list[list[Run]]]:
        """The runs of each job, of all batches that are not forgotten."""
        return {path.parent.name: _runs_of(path) for path in sorted(self.home.glob(f"*/{NOTE}"))}

    def forget(self, batch: str) -> None:
        """Remove what is written down of a batch whose jobs have ended, but for the logs."""
        folder = self.folder(batch)
        jobs = len(_runs_of(folder / NOTE))
        (folder / NOTE).unlink(missing_ok=True)
        carried.forget(folder, range(jobs))
        for path in (*folder.glob("*.pkl"), *folder.glob(".submission_file_*.sh")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    @contextlib.contextmanager
    def one_at_a_time(self, stop: Stop) -> Iterator[None]:
        """One command at a time looks what is in flight and hands over the rest. Stopped, it waits no longer."""
        with contextlib.ExitStack() as stack:
            while not stop():
                try:
                    stack.enter_context(hold(self.home))
                    break
                except Busy:
                    time.sleep(1)
            yield


def _runs_of(path: Path) -> list[list[Run]]:
    """The runs of each job of a batch; none where the note is damaged or gone."""
    try:
        return [[(str(key), int(seed)) for key, seed in runs] for runs in parse_json(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
