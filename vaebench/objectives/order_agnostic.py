"""Order-agnostic training: random masks give the mean over all orders of the pixels.

Reference: Uria, Murray & Larochelle 2014.
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
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class OrderAgnostic(Objective):
    """Minimises d / (d - |o|) sum_{i not in o} -log p(x_i | x_o).

    The set o of observed pixels is drawn anew for each example, with |o| uniform on 0 ... d - 1. So
    the expectation is the NLL, averaged over all orders. There is no state. Validations take the
    same mean, from ``train.valid_samples`` masks of every example.

    With ``pretraining`` the layers are added one after the other: nets of 1, 2, ... hidden layers
    are trained first, each for so many updates. Each has its own weights from the last hidden layer
    to the pixels, which are given up when the next layer comes. Its hidden layers and the biases of
    the pixels are kept. Validations always measure the whole net, while 'bound' in the metrics is
    that of the net that learns.

    Args:
        model: A model that knows p(x_i | x_o) for every o.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
        pretraining: Updates, out of the budget, for each net that lacks layers (a model of one
            layer has no such net); 0: all layers learn from the start.

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
        # Weights from the last hidden layer to the pixels, (d, units), of each net that lacks
        # layers.
        nets = model.layers - 1 if pretraining else 0
        self.shallower = nn.ParameterList(
            [torch.zeros_like(model.p["output"]) for _ in range(nets)]
        )

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` knows p(x_i | x_o) for every set o."""
        return isinstance(model, EoNADE)

    @staticmethod
    def first_parts(objective: dict[str, Any], model: dict[str, Any]) -> Parts:
        """Return the updates of the nets that lack layers."""
        return Parts(
            "objective.pretraining", (model["layers"] - 1) * objective["pretraining"], "updates"
        )

    def groups(self) -> dict[str, str]:
        """Return one parameter group, of the model and of the weights that pretraining gives up."""
        return {"model": ""}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of one mask per example."""
        return mask_noise(batch, self.model.sizes[0])

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        seen = observed(noise).to(x.dtype)
        log_p = (
            self._log_likelihood(x, seen, batch.update)
            if len(self.shallower)
            else self._by_net(0, x, seen)
        )
        return -reduction.over_cases(log_p, self.reduce), state, {"bound": log_p.detach().mean()}

    def _by_net(self, place: int, x: Tensor, seen: Tensor) -> Tensor:
        """Return the order-agnostic log-likelihood, (batch,), nats, of one of the nets.

        Args:
            place: Number of the net, from 0; the last one is the whole net.
            x: Examples, (batch, d).
            seen: 1 for observed pixels, else 0, (batch, d).
        """
        if place == len(self.shallower):
            return self.model.order_agnostic(x, seen)
        return self.model.order_agnostic(x, seen, place + 1, self.shallower[place])

    def _log_likelihood(self, x: Tensor, seen: Tensor, update: Tensor | None) -> Tensor:
        """Return the same of the net that learns at this update."""
        # Number of the net whose turn it is; the whole net, the last one, has the rest of the
        # budget.
        last = len(self.shallower)
        turn = (told(update) // self.pretraining).clamp(max=last)
        if readable(turn):
            log_p = self._by_net(int(turn), x, seen)
        else:
            # If the step cannot read the number, compute all nets and choose.
            log_p = self._by_net(last, x, seen)
            for place in range(last):
                log_p = torch.where(turn == place, self._by_net(place, x, seen), log_p)

        # Every parameter must be a part of the loss: those of the other nets have gradient 0.
        return log_p + 0 * total([p.sum() for p in self.parameters()])
