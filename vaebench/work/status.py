"""How far a piece of work is, as a worker tells it and a person reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from vaebench.formatting import duration

Say = Callable[[str, Any], None]
"""Progress: ('updates', n) more updates of one seed; ('spared', n) updates that need not be made, because they were
before or training stopped early; ('status', Status) how far the work in hand is; ('outcome', Outcome)."""

ShouldStop = Callable[[], bool]
"""Whether the user has asked to stop: asked often, it answers at once."""


class Status(NamedTuple):
    """``who`` works, and how far it is: a whole ``line``, and what of it stands beside a progress bar.

    ``beside`` None: the line. A bar shows counts, rate and time left by itself.
    """

    who: str
    line: str
    beside: str | None = None


def training(who: str, update: int, of: int, shown: dict[str, float], rate: float | None) -> Status:
    """The status of a training after ``update`` of ``of`` updates, ``rate`` of them per second."""
    values = "".join(f", {name} {value:.2f}" for name, value in shown.items())
    line = f"training, update {update:,} of {of:,}{values}"
    if rate:
        line += f", {rate:,.{0 if rate >= 10 else 2}f} updates/s, {duration((of - update) / rate)} left"
    return Status(who, line, values.removeprefix(", "))
