"""Weight decay as a term of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from vaebench.models.base import Model
from vaebench.models.posterior import total
from vaebench.objectives.base import Objective
from vaebench.settings import validate


def check_decay(value: Any) -> float:
    """``objective.weight_decay`` as a float.

    Raises UserError unless it is a finite number from 0.
    """
    return validate.from_zero("objective.weight_decay", value)


_apart = False


@contextmanager
def apart(wanted: bool) -> Iterator[None]:
    """Leave the penalty out of losses in this block.

    The caller adds its gradient, see ``strengths``. Autograd passes over all parameters eight times
    for it; to add it to the gradient takes one pass.
    """
    global _apart
    before = _apart
    _apart = wanted
    try:
        yield
    finally:
        _apart = before


def penalty(model: Model, strength: float) -> Tensor | float:
    """strength / 2 |.|^2 over what ``model.decayed()`` names, (); 0 in a block of ``apart``."""
    if _apart:
        return 0.0
    return 0.5 * strength * total([(p**2).sum() for p in model.decayed()])


def strengths(objective: Objective) -> dict[str, float]:
    """Names of the parameters that decay -> the factor of each.

    In the gradient of the penalty the parameter is multiplied by it.
    """
    if not objective.weight_decay:
        return {}
    decayed = {id(p) for p in objective.model.decayed()}
    return {
        name: objective.weight_decay for name, p in objective.named_parameters() if id(p) in decayed
    }
