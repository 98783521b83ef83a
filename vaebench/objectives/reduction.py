"""How the gradients of the cases of a minibatch become one: summed or averaged."""

from __future__ import annotations

from torch import Tensor

from vaebench.errors import UserError, nearest


def check(reduce: str) -> str:
    """``reduce`` itself; UserError unless it is 'sum' or 'mean'."""
    if reduce not in ("sum", "mean"):
        raise UserError(f"objective.reduce={reduce!r}: {nearest(str(reduce), ['sum', 'mean'])}")
    return reduce


def over_cases(values: Tensor, reduce: str) -> Tensor:
    """Sum or mean of ``values`` (..., batch) over the last axis.

    And the sum over any axis before it.
    """
    return values.sum() if reduce == "sum" else values.mean(-1).sum()
