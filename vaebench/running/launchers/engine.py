"""What an engine (Slurm, Ray) is to the launcher.

Where its jobs stand, and what can be asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vaebench.running.tasks import Task
from vaebench.settings.records import RunSettings


class State(NamedTuple):
    """Where a job stands.

    Attributes:
        word: As the engine calls it.
        live: Whether it runs or will run.
        running: Whether it runs.
        why: Why it waits, or why it ended; may be empty.
    """

    word: str
    live: bool
    running: bool
    why: str = ""


class Job(NamedTuple):
    """A job: the ``number``-th of a batch, from 0."""

    batch: str
    number: int


class Engine(Protocol):
    """What carries jobs out.

    Attributes:
        name: Its name, of the setting ``run.launcher`` and of its folder.
        title: Its name for people.
        most: How many jobs a batch may have.
    """

    name: str
    title: str
    most: int

    @property
    def outlives(self) -> bool:
        """Whether jobs go on when the command ends."""
        ...

    def asks(self) -> Mapping[str, Any]:
        """What a job asks for, by the names of settings of ``run``, as JSON holds it."""
        ...

    def submit(self, folder: Path, batch: str, tasks: Sequence[Task]) -> str:
        """Hand a batch over, one job a task, each calling ``carried.carry_out``.

        Returns:
            What a person calls the batch.

        Raises:
            UserError: If the engine refuses it.
        """
        ...

    def states(self, home: Path, batches: Sequence[str]) -> Mapping[Job, State] | None:
        """Where the jobs of batches stand. One that is missing has ended.

        None: the engine does not answer.
        """
        ...

    def cancel(self, home: Path, jobs: Sequence[Job]) -> None:
        """Take jobs that have not begun out of the queue. Those that run go on."""
        ...

    def cancelling(self, jobs: Sequence[Job]) -> str:
        """How a person ends these jobs, in a few words."""
        ...

    def stop(self, jobs: Sequence[Job]) -> None:
        """Let jobs save their state and end.

        Only of an engine that does not outlive the command.
        """
        ...

    def log(self, folder: Path, index: int) -> Path:
        """Where what a job has said is."""
        ...

    def close(self) -> None:
        """Let go of the engine."""
        ...


def asks_of(settings: RunSettings) -> dict[str, Any]:
    """What jobs of any engine ask for: CPUs, GPUs and GiB (None: what the engine gives)."""
    return {
        "cpus": settings.cpus or settings.threads,
        "gpus": gpus_of(settings),
        "memory": settings.memory,
    }


def gpus_of(settings: RunSettings) -> int:
    """The GPUs of a job: as asked for, else one where a GPU is to train."""
    if settings.gpus is not None:
        return settings.gpus
    return int(settings.device.startswith("cuda"))
