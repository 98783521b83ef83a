"""Where the inverse temperatures of an annealing run lie.

They are spaced evenly, or ever denser towards t = 1, the model itself.
"""

from __future__ import annotations

from collections.abc import Callable

LATE = ((500, 0.5), (4000, 0.9), (10_000, 1.0))
"""Number of steps, and the inverse temperature at their end: 0 to .5 by .001, to .9 by .0001, to 1
by .00001."""


def evenly(steps: int) -> list[float]:
    """Return i / ``steps``, i = 0 to ``steps``."""
    return [i / steps for i in range(steps + 1)]


def late(steps: int) -> list[float]:
    """Return the spacing of Salakhutdinov & Murray (2008), who took 14,500 steps.

    With another number of steps, each part keeps its share of them. Most of the variance of log w
    comes from the last tenth, where an RBM with large couplings moves away from the base.
    """
    # Step i of a run with another number of steps stands where step i * whole / steps of the
    # published run stands. The end is set apart, so that rounding cannot miss it.
    whole = sum(count for count, _ in LATE)
    return [_at(i * whole / steps) for i in range(steps)] + [1.0]


def _at(place: float) -> float:
    """Return the inverse temperature after ``place`` of the published steps."""
    low = 0.0
    for count, high in LATE:
        if place <= count:
            return low + (high - low) * place / count
        place -= count
        low = high
    return 1.0


SPACINGS: dict[str, Callable[[int], list[float]]] = {"even": evenly, "late": late}
"""Value of ``eval.logz_spacing`` -> a function from the number of steps to the inverse
temperatures, from 0 up to 1, both included."""
