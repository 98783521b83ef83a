"""Where the inverse temperatures of an annealing run lie.

Evenly, or ever denser towards the machine itself.
"""

from __future__ import annotations

from collections.abc import Callable

LATE = ((500, 0.5), (4000, 0.9), (10_000, 1.0))
"""Steps, and the inverse temperature up to which they go: 0 to .5 by .001, to .9 by
.0001, to 1 by .00001."""


def evenly(steps: int) -> list[float]:
    """i / ``steps``, i = 0 to ``steps``."""
    return [i / steps for i in range(steps + 1)]


def late(steps: int) -> list[float]:
    """As Salakhutdinov & Murray (2008), who took 14,500 steps.

    Others have the same shares of each part, i = 0 up. Most of what log w varies by comes from the
    last tenth, where a machine with large couplings leaves the base behind.
    """
    whole = sum(count for count, _ in LATE)
    return [_at(i * whole / steps) for i in range(steps)] + [1.0]


def _at(place: float) -> float:
    """The inverse temperature after ``place`` of the published steps."""
    low = 0.0
    for count, high in LATE:
        if place <= count:
            return low + (high - low) * place / count
        place -= count
        low = high
    return 1.0


SPACINGS: dict[str, Callable[[int], list[float]]] = {"even": evenly, "late": late}
"""``eval.logz_spacing`` -> the inverse temperatures of so many steps, from
0 up to 1, both included."""
