"""What a mean over examples hides.

Some examples may not be finite, or one example may outweigh all the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_CASES = 20
"""With fewer examples, one may well outweigh the others."""

LEAST_SHIFT = 0.005
"""Shift of the mean, nats, below which an example does no harm: half of the last printed digit."""


def noticed(each: Tensor) -> dict[str, Any]:
    """Return what is wrong with the values, one per example, behind a mean.

    If nothing is wrong, the result is empty.

    Args:
        each: One value per example, in the order of the evaluated examples and with the sign of the
            measure, (n,).

    Returns:
        ``{"not_finite": {"cases", "first"}}``: how many examples are NaN or infinite, and the
        position of the first. Or ``{"one_case": {"case", "value", "median", "shift"}}``: one
        example's distance from the median of all exceeds the sum of the distances of all others. So
        it moves the mean, by ``shift``, more than they do together. In a sample of n examples
        without outliers the largest distance is of the order of a few mean distances, while the sum
        has n - 1 of them. This needs at least LEAST_CASES examples and a shift of LEAST_SHIFT.
    """
    each = each.double()
    finite = torch.isfinite(each)
    if not bool(finite.all()):
        return {"not_finite": {"cases": int((~finite).sum()), "first": int((~finite).nonzero()[0])}}
    if len(each) < LEAST_CASES:
        return {}

    median = each.median()
    distance = (each - median).abs()
    case = int(distance.argmax())
    largest = distance[case]
    shift = float(each[case] - median) / len(each)

    # The others are summed without the largest distance. A difference of sums would lose the digits
    # of the others beside it.
    others = distance.clone()
    others[case] = 0.0
    if not bool(largest > others.sum()) or abs(shift) < LEAST_SHIFT:
        return {}

    return {
        "one_case": {
            "case": case,
            "value": float(each[case]),
            "median": float(median),
            "shift": shift,
        }
    }
