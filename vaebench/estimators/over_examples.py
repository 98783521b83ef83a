"""Means over examples, and their errors, as if they were drawn from a population."""

from __future__ import annotations

import math

from torch import Tensor


def mean_and_error(each: Tensor) -> tuple[float, float | None]:
    """Return the mean over examples (n,), and its ``standard_error``."""
    return float(each.mean()), standard_error(each)


def standard_error(each: Tensor) -> float | None:
    """Return the standard error of the mean over examples; None for a single example.

    It is sd / sqrt(n), where the sd has n - 1 degrees of freedom.

    Args:
        each: The examples' values, (n,).
    """
    return float(each.std() / math.sqrt(len(each))) if len(each) > 1 else None
