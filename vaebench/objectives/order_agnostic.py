"""Order-agnostic training: the mean over all orders of the pixels, by random masks (Uria, Murray & Larochelle 2014)."""

from __future__ import annotations

from types import MappingProxyType

from vaebench.models.base import Model
from vaebench.models.eonade import EoNADE, mask_noise, observed
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step


class OrderAgnostic(Objective):
    """Minimises d / (d - |o|) sum_{i not in o} -log p(x_i | x_o) with a random set o of observed pixels per example.

    |o| is uniform on 0 ... d - 1, so the expectation is the mean over all orders of the NLL. There is no state.
    Validations take the same mean, from ``train.valid_samples`` masks of every example.

    Args:
        model: One that knows p(x_i | x_o) for every o.
        reduce: ``sum`` or ``mean`` over the examples of the batch.

    Reference:
        Uria, Murray & Larochelle 2014, A Deep and Tractable Density Estimator, equations 7 to 9.
    """

    tiny = ({}, {"reduce": "sum"})

    model: EoNADE

    validation = MappingProxyType({"masked": True})

    def __init__(self, model: EoNADE, reduce: str = "mean") -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)

    @staticmethod
    def trains(model: Model) -> bool:
        """Models that know p(x_i | x_o) for every set o."""
        return isinstance(model, EoNADE)

    def noise(self, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of one mask per example."""
        return mask_noise(batch, self.model.sizes[0])

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """One pure step; see the package docstring."""
        x = batch.x
        log_p = self.model.order_agnostic(x, observed(noise).to(x.dtype))
        return -reduction.over_cases(log_p, self.reduce), state, {"bound": log_p.detach().mean()}
