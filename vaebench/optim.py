"""Optimisers: how gradients change parameters, in place, with a rate for each parameter group.

An optimiser sees parameters as name -> tensor, all with the leading axis of packed seeds. ``budget_free`` says that its
updates do not depend on how many there will be.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaebench.errors import UserError, nearest


class SGD:
    """Plain gradient descent of the loss at fixed rates: no momentum, no weight decay, no state.

    ``rate`` is the generative model's. A group without a rate of its own follows the paper's rules: the inference
    network (``posterior``) learns five times slower, the baselines at the model's rate (Mnih & Gregor 2014, 4.1).
    """

    budget_free = True

    def __init__(self, rate: float, posterior_rate: float | None = None, baseline_rate: float | None = None) -> None:
        self.rates = {
            "model": float(rate),
            "posterior": rate / 5 if posterior_rate is None else float(posterior_rate),
            "baseline": float(rate if baseline_rate is None else baseline_rate),
        }
        for group, value in self.rates.items():
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"optim: the rate of group {group!r} is {value!r}; it must be a number above 0")

    def state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """What persists between updates: nothing."""
        return {}

    def apply_(
        self,
        params: dict[str, Tensor],
        grads: dict[str, Tensor],
        state: dict[str, Tensor],
        group_of: dict[str, str],
        progress: Tensor,
    ) -> None:
        """One update of ``params`` and ``state`` in place; ``group_of`` maps a parameter's name to its group.

        ``progress`` (seeds,): share of the budget that was done before.
        """
        with torch.no_grad():
            for name, p in params.items():
                p.add_(grads[name], alpha=-self.rates[group_of[name]])


OPTIMS = {"sgd": SGD}


def build(config: dict[str, Any]) -> SGD:
    """The optimiser of a cell's ``optim`` group; UserError for an unknown name, key or rate."""
    if config["name"] not in OPTIMS:
        raise UserError(f"optim {config['name']!r}: {nearest(config['name'], OPTIMS)}")
    try:
        return OPTIMS[config["name"]](**{k: v for k, v in config.items() if k != "name"})
    except (TypeError, ValueError) as e:
        raise UserError(f"optim {config['name']}: {str(e).split(') ')[-1]}") from None
