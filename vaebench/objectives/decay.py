"""Weight decay as a term of the loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.validate import is_number


def check_decay(value: Any) -> float:
    """``objective.weight_decay`` as a float; raises UserError unless it is a finite number from 0."""
    if not is_number(value) or value < 0:
        raise UserError(f"objective.weight_decay={value!r}: must be a number from 0")
    return float(value)


def penalty(model: nn.Module, strength: float) -> Tensor:
    """strength / 2 |.|^2 over what ``model.decayed()`` names, ()."""
    return 0.5 * strength * sum((p**2).sum() for p in model.decayed())
