"""What a worker reports while it works, and how it learns that it must stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vaebench.formatting import duration


class Event:
    """Something that a worker reports.

    How a run ended is an event too: see ``running.tasks.Outcome``.
    """


@dataclass(frozen=True)
class Advanced(Event):
    """So many more updates of one seed have been made."""

    updates: int


@dataclass(frozen=True)
class Spared(Event):
    """So many updates need not be made: they were made before, or training stopped early."""

    updates: int


@dataclass(frozen=True)
class Said(Event):
    """A line for the user, to be shown at once."""

    line: str


@dataclass(frozen=True)
class Working(Event):
    """How far the present work is.

    Attributes:
        who: The cell and its seeds.
        line: How far they are, as a whole line.
        beside: The text beside a progress bar, which itself shows counts, rate and time left.
            None: the line.
    """

    who: str
    line: str
    beside: str | None = None


Say = Callable[[Event], None]
"""A function that gets every event, in the process of the worker."""

ShouldStop = Callable[[], bool]
"""Whether the user has asked to stop. It is called often, so it returns at once."""


def nobody(event: Event) -> None:
    """Ignore an event: the ``Say`` for when nobody listens."""


def never() -> bool:
    """Return False: the ``ShouldStop`` of work that nobody stops."""
    return False


def training(
    who: str, update: int, of: int, shown: dict[str, float], rate: float | None
) -> Working:
    """Say how far training is: ``update`` of ``of`` updates, ``rate`` of them per second."""
    values = "".join(f", {name} {value:.2f}" for name, value in shown.items())
    line = f"training, update {update:,} of {of:,}{values}"
    if rate:
        line += (
            f", {rate:,.{0 if rate >= 10 else 2}f} updates/s, {duration((of - update) / rate)} left"
        )

    # A progress bar shows counts, rate and time left itself: beside it only the values stand.
    return Working(who, line, values.removeprefix(", "))
