"""Optimisers: how gradients change parameters, in place, with a rate for each parameter group."""

from __future__ import annotations

from typing import Any

from vaebench.config.cells import settings_of
from vaebench.errors import UserError, nearest
from vaebench.optim.adagrad import Adagrad
from vaebench.optim.adam import SCHEDULES, Adam
from vaebench.optim.base import Optimiser, Verdict
from vaebench.optim.clipped_adam import ClippedAdam
from vaebench.optim.clipped_sgd import ClippedSGD
from vaebench.optim.momentum import Momentum
from vaebench.optim.sgd import SGD

__all__ = [
    "OPTIMS",
    "SCHEDULES",
    "SGD",
    "Adagrad",
    "Adam",
    "ClippedAdam",
    "ClippedSGD",
    "Momentum",
    "Optimiser",
    "Verdict",
    "build",
]

OPTIMS: dict[str, type[Optimiser]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "adam": Adam,
    "adagrad": Adagrad,
    "clipped_sgd": ClippedSGD,
    "clipped_adam": ClippedAdam,
}


def build(config: dict[str, Any], largest: dict[str, float] | None = None) -> Optimiser:
    """Build the optimiser of a cell's ``optim`` group.

    Args:
        config: The ``optim`` group: ``name`` and the optimiser's settings.
        largest: The objective's ``largest_rates``, by group; groups without a rate of their own do
            not exceed them.

    Raises:
        UserError: For an unknown name or key, or an impossible value.
    """
    if config["name"] not in OPTIMS:
        raise UserError(f"optim {config['name']!r}: {nearest(config['name'], OPTIMS)}")

    try:
        optimiser = OPTIMS[config["name"]](**settings_of(config))
    except (TypeError, ValueError) as e:
        # A TypeError begins with the name of the constructor, up to ") ".
        raise UserError(f"optim {config['name']}: {str(e).split(') ')[-1]}") from None

    optimiser.limit(largest or {})
    return optimiser
