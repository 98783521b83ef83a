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
    """Return ``objective.weight_decay`` as a float.

    Raises:
        UserError: If it is not a finite number from 0.
    """
    return validate.from_zero("objective.weight_decay", value)


_apart = False


@contextmanager
def apart(wanted: bool) -> Iterator[None]:
    """Leave the penalty out of losses within a block, if ``wanted``.

    The caller then adds the gradient of the penalty by itself, see ``strengths``. That takes one
    pass over the parameters, where autograd needs eight.
    """
    global _apart
    before = _apart
    _apart = wanted
    try:
        yield
    finally:
        _apart = before


def penalty(model: Model, strength: float) -> Tensor | float:
    """Return strength / 2 |.|^2 over ``model.decayed()``, (); 0 within a block of ``apart``."""
    if _apart:
        return 0.0
    return 0.5 * strength * total([(p**2).sum() for p in model.decayed()])


def strengths(objective: Objective) -> dict[str, float]:
    """Return by name the parameters that decay, with their factors in the penalty's gradient."""
    if not objective.weight_decay:
        return {}
    # ``decayed`` gives tensors without names, so they are recognised by identity.
    decayed = {id(p) for p in objective.model.decayed()}
    return {
        name: objective.weight_decay for name, p in objective.named_parameters() if id(p) in decayed
    }
