"""What a worker says while it works, and how it hears that it is to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vaebench.formatting import duration


class Event:
    """Something that a worker says.

    How a run ended is an event too: see ``running.tasks.Outcome``.
    """


@dataclass(frozen=True)
class Advanced(Event):
    """So many more updates of one seed are made."""

    updates: int


@dataclass(frozen=True)
class Spared(Event):
    """So many updates need not be made: they were made before, or training stopped early."""

    updates: int


@dataclass(frozen=True)
class Said(Event):
    """A line for the person, to be shown at once."""

    line: str


@dataclass(frozen=True)
class Working(Event):
    """How far the work in hand is.

    Attributes:
        who: The cell and its seeds.
        line: How far they are, as a whole line.
        beside: What of it stands beside a progress bar, which shows counts, rate and time left
            itself. None: the line.
    """

    who: str
    line: str
    beside: str | None = None


Say = Callable[[Event], None]
"""Is told of every event, in the process of the worker."""

ShouldStop = Callable[[], bool]
"""Whether the user has asked to stop: asked often, it answers at once."""


def nobody(event: Event) -> None:
    """A ``Say`` that tells nobody."""


def never() -> bool:
    """A ``ShouldStop`` of work that nobody stops."""
    return False


def training(
    who: str, update: int, of: int, shown: dict[str, float], rate: float | None
) -> Working:
    """How far a training is after ``update`` of ``of`` updates, ``rate`` of them per second."""
    values = "".join(f", {name} {value:.2f}" for name, value in shown.items())
    line = f"training, update {update:,} of {of:,}{values}"
    if rate:
        line += (
            f", {rate:,.{0 if rate >= 10 else 2}f} updates/s, {duration((of - update) / rate)} left"
        )
    return Working(who, line, values.removeprefix(", "))
