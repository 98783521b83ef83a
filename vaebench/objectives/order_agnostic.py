"""Order-agnostic training.

The mean over all orders of the pixels, by random masks (Uria, Murray & Larochelle 2014).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.models.base import Model
from vaebench.models.eonade import EoNADE, mask_noise, observed
from vaebench.models.posterior import total
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, Parts, State, Step, told
from vaebench.objectives.contrastive_divergence import readable
from vaebench.settings import validate


class OrderAgnostic(Objective):
    """Minimises d / (d - |o|) sum_{i not in o} -log p(x_i | x_o).

    The set o of observed pixels is a random one for each example.

    |o| is uniform on 0 ... d - 1, so the expectation is the mean over all orders of the NLL. There
    is no state. Validations take the same mean, from ``train.valid_samples`` masks of every
    example.

    With ``pretraining`` the layers are added in turn: nets of 1, 2, ... hidden layers are trained
    first, each for so many updates and with weights to the pixels of its own, which are left behind
    when the next layer comes. What it has learned of its hidden layers and of the pixels' biases
    stays. Validations are of the whole net all the time, and 'bound' in the metrics of the net that
    learns.

    Args:
        model: One that knows p(x_i | x_o) for every o.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
        pretraining: Of the budget's updates, those of each net that lacks layers, of which a model
            of one layer has none; 0: all layers learn from the start.

    Raises:
        UserError: If ``pretraining`` is no whole number from 0.

    Reference:
        Uria, Murray & Larochelle 2014, A Deep and Tractable Density Estimator, equations 7 to 9.
    """

    tiny = ({}, {"reduce": "sum"}, {"pretraining": 3})

    model: EoNADE

    validation = MappingProxyType({"masked": True})

    def __init__(self, model: EoNADE, reduce: str = "mean", pretraining: int = 0) -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)
        self.pretraining = validate.whole("objective.pretraining", pretraining, 0)
        shallower = model.layers - 1 if pretraining else 0
        self.shallower = nn.ParameterList(
            [torch.zeros_like(model.p["output"]) for _ in range(shallower)]
        )

    @staticmethod
    def trains(model: Model) -> bool:
        """Models that know p(x_i | x_o) for every set o."""
        return isinstance(model, EoNADE)

    @staticmethod
    def first_parts(objective: dict[str, Any], model: dict[str, Any]) -> Parts:
        """Those of the nets that lack layers."""
        return Parts(
            "objective.pretraining", (model["layers"] - 1) * objective["pretraining"], "updates"
        )

    def groups(self) -> dict[str, str]:
        """One parameter group, of the model and of the weights that pretraining leaves behind."""
        return {"model": ""}

    def noise(self, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of one mask per example."""
        return mask_noise(batch, self.model.sizes[0])

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """One pure step; see the package docstring."""
        x = batch.x
        seen = observed(noise).to(x.dtype)
        log_p = (
            self._log_likelihood(x, seen, batch.update)
            if len(self.shallower)
            else self._by_net(0, x, seen)
        )
        return -reduction.over_cases(log_p, self.reduce), state, {"bound": log_p.detach().mean()}

    def _by_net(self, place: int, x: Tensor, seen: Tensor) -> Tensor:
        """The order-agnostic log-likelihood, (batch,), of the net in that place.

        The last is the whole one.
        """
        if place == len(self.shallower):
            return self.model.order_agnostic(x, seen)
        return self.model.order_agnostic(x, seen, place + 1, self.shallower[place])

    def _log_likelihood(self, x: Tensor, seen: Tensor, update: Tensor | None) -> Tensor:
        """The same of the net whose turn it is at this update."""
        last = len(self.shallower)
        turn = (told(update) // self.pretraining).clamp(max=last)
        if readable(turn):
            log_p = self._by_net(int(turn), x, seen)
        else:
            log_p = self._by_net(last, x, seen)
            for place in range(last):
                log_p = torch.where(turn == place, self._by_net(place, x, seen), log_p)
        # What the other nets have to themselves has a part in the loss, of which the gradient is 0.
        return log_p + 0 * total([p.sum() for p in self.parameters()])
