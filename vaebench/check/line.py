"""One comparison of an estimate with an exact value, as `vaebench check` shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

LIMIT = 4.5
"""Largest |z| that passes. A normal variable exceeds it once in 150,000; fixed seeds make the
outcome repeatable."""

COORDINATE_LIMIT = 5.5
"""Largest |z| that passes for one coordinate of a gradient, of which there are thousands. A normal
variable exceeds it once in 26 million."""

ROUNDING = 1e-9
"""A standard error below this, relative to the exact value or to 1, is taken for rounding: all the
values behind the mean are the same."""


@dataclass(frozen=True)
class Line:
    """One comparison of an estimate with an exact value.

    If ``error`` is rounding or absent, the two must agree to rounding: ``z`` is 0 or infinite. For
    a gradient, ``coordinates`` has the z of each coordinate, and the line itself compares lengths:
    the estimate is projected on the exact gradient.
    """

    name: str
    exact: float
    estimate: float
    error: float | None
    coordinates: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def z(self) -> float:
        """(estimate - exact) / error; without an error, 0 or infinite."""
        if not self.error or self.error < ROUNDING * max(1.0, abs(self.exact)):
            return (
                0.0
                if math.isclose(self.estimate, self.exact, rel_tol=1e-6, abs_tol=1e-9)
                else math.inf
            )

        return (self.estimate - self.exact) / self.error

    @property
    def worst(self) -> float:
        """Largest |z| of any coordinate; 0 without coordinates.

        It shows errors perpendicular to the gradient, which ``z`` does not.
        """
        return float(self.coordinates.abs().max()) if len(self.coordinates) else 0.0

    @property
    def ok(self) -> bool:
        """Whether |z| is within LIMIT, and within COORDINATE_LIMIT for every coordinate."""
        return abs(self.z) <= LIMIT and self.worst <= COORDINATE_LIMIT


def mean_line(name: str, wanted: float, values: Tensor) -> Line:
    """Return a line for the mean of independent ``values`` with its standard error."""
    values = values.detach()
    return Line(name, wanted, float(values.mean()), float(values.std() / math.sqrt(len(values))))
