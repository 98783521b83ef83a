"""The interface of an engine (Slurm, Ray): what the launcher can ask of it.

This includes the states of its jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vaebench.running.tasks import Task
from vaebench.settings.records import RunSettings


class State(NamedTuple):
    """The state of a job.

    Attributes:
        word: The engine's word for it.
        live: Whether the job runs or will run.
        running: Whether it runs.
        why: Why it waits, or why it ended; may be empty.
    """

    word: str
    live: bool
    running: bool
    why: str = ""


class Job(NamedTuple):
    """A job: number ``number``, from 0, of a batch."""

    batch: str
    number: int


class Engine(Protocol):
    """Something that runs jobs.

    Attributes:
        name: Its name in the setting ``run.launcher`` and of its folder.
        title: Its name for people.
        limit: What limits its jobs, in words.
        most: Most jobs of a batch.
    """

    name: str
    title: str
    limit: str
    most: int

    @property
    def outlives(self) -> bool:
        """Whether jobs go on when the command ends."""
        ...

    def asks(self) -> Mapping[str, Any]:
        """Return what a job asks for, by the names of settings of ``run``, as JSON values."""
        ...

    def submit(self, folder: Path, batch: str, tasks: Sequence[Task]) -> str:
        """Hand a batch over, one job for each task, which calls ``carried.carry_out``.

        Returns:
            The name of the batch for people.

        Raises:
            UserError: If the engine refuses it.
        """
        ...

    def states(self, home: Path, batches: Sequence[str]) -> Mapping[Job, State] | None:
        """Return the states of the jobs of some batches. A job that is missing has ended.

        None if the engine does not answer.
        """
        ...

    def cancel(self, home: Path, jobs: Sequence[Job]) -> None:
        """Take jobs that have not begun out of the queue. Running jobs go on."""
        ...

    def cancelling(self, jobs: Sequence[Job]) -> str:
        """Return how a person can end these jobs, in a few words."""
        ...

    def stop(self, jobs: Sequence[Job]) -> None:
        """Let jobs save their state and end.

        Only called if the engine's jobs do not outlive the command.
        """
        ...

    def log(self, folder: Path, index: int) -> Path:
        """Return the path of a job's log."""
        ...

    def close(self) -> None:
        """Disconnect from the engine."""
        ...


def asks_of(settings: RunSettings) -> dict[str, Any]:
    """Return what jobs of any engine ask for: CPUs, GPUs and GiB (None: the engine's default)."""
    return {
        "cpus": settings.cpus or settings.threads,
        "gpus": gpus_of(settings),
        "memory": settings.memory,
    }


def gpus_of(settings: RunSettings) -> int:
    """Return the GPUs of a job: as asked for, else one if ``run.device`` is a GPU."""
    if settings.gpus is not None:
        return settings.gpus
    return int(settings.device.startswith("cuda"))
