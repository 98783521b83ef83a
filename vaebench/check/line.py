"""One comparison of an estimate with an exact value, as `vaebench check` shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

LIMIT = 4.5
"""Largest |z| that passes. Normal lines exceed it by chance once in 150,000; fixed
seeds make that repeatable."""

COORDINATE_LIMIT = 5.5
"""The same for one coordinate of a gradient, of which there are thousands: exceeded by chance once
in 26 million."""


ROUNDING = 1e-9
"""Errors below this, of what is about 1, are rounding: all values that a mean was
taken of are the same."""


@dataclass(frozen=True)
class Line:
    """One comparison.

    If ``error`` is none but rounding, the two must agree to rounding: ``z`` is 0 or infinite.
    ``coordinates``: for a gradient, z of each of its coordinates (the line itself is their
    projection).
    """

    name: str
    exact: float
    estimate: float
    error: float | None
    coordinates: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def z(self) -> float:
        """(estimate - exact) / error."""
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

        Errors across the gradient do not show in ``z``.
        """
        return float(self.coordinates.abs().max()) if len(self.coordinates) else 0.0

    @property
    def ok(self) -> bool:
        """Whether |z| is within LIMIT, and that of every coordinate within COORDINATE_LIMIT."""
        return abs(self.z) <= LIMIT and self.worst <= COORDINATE_LIMIT


def mean_line(name: str, wanted: float, values: Tensor) -> Line:
    """The mean of independent ``values`` with its standard error."""
    values = values.detach()
    return Line(name, wanted, float(values.mean()), float(values.std() / math.sqrt(len(values))))
