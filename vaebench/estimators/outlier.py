"""What a mean over cases hides.

Cases that are not finite, and one case that outweighs all the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_CASES = 20
"""Of fewer cases one may well outweigh the others."""

LEAST_SHIFT = 0.005
"""A case that moves the mean by less than half of the last printed digit (nats) does no harm."""


def noticed(each: Tensor) -> dict[str, Any]:
    """What is wrong with the values ``each`` (n,) of the cases behind a mean.

    Empty where nothing is.

    Args:
        each: one value per case, in the order of the evaluated cases and with the sign of the
            measure, (n,).

    Returns:
        ``{"not_finite": {"cases", "first"}}``: how many cases are NaN or infinite, and the position
        of the first. Or ``{"one_case": {"case", "value", "median", "shift"}}``: the distance of one
        case from the median of all exceeds the sum of the distances of all the others, so it moves
        the mean, by ``shift``, more than they do together. In a sample of n cases without outliers
        the largest distance is of the order of a few mean distances, of which the sum has n - 1. At
        least LEAST_CASES cases, and a shift of at least LEAST_SHIFT.
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

    # The others are summed without the largest, not by a difference of sums, which would lose their
    # digits beside it.
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
