"""How the gradients of the examples of a minibatch are combined: by their sum or their mean."""

from __future__ import annotations

from torch import Tensor

from vaebench.errors import UserError, nearest


def check(reduce: str) -> str:
    """Return ``reduce`` if it is 'sum' or 'mean', else raise a UserError."""
    if reduce not in ("sum", "mean"):
        raise UserError(f"objective.reduce={reduce!r}: {nearest(str(reduce), ['sum', 'mean'])}")
    return reduce


def over_cases(values: Tensor, reduce: str) -> Tensor:
    """Return the sum or mean of ``values`` (..., batch) over examples, summed over other axes."""
    return values.sum() if reduce == "sum" else values.mean(-1).sum()
