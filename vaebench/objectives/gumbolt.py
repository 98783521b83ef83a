"""GumBolt and PWL: relaxed bits in the log-probabilities of hard ones (Khoshaman & Amin 2018).

``PWL`` differs only in the relaxation: piecewise linear (Andriyash, Vahdat & Macready 2018) instead
of concrete.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.dists.smoothing import Smoothing
from vaebench.errors import UserError
from vaebench.models.rbm_vae import RBMVAE
from vaebench.objectives.directed import WeightedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS


class DiscretePlugIn(WeightedObjective):
    """Base: log q = sum zeta l - softplus(l) and log p = -E(zeta) - log Z, no densities of zeta.

    With one sample the entropy of each group's bits is exact, given the groups below. The energy
    takes the first half of the groups, side 1, at zeta and the other half at its means. A single
    group is taken at its means, which is exact. With several samples the importance-weighted bound
    takes zeta throughout.

    Raises:
        UserError: If the number of groups is neither 1 nor even.
    """

    def __init__(self, model: RBMVAE, relax: Smoothing, **more: Any) -> None:
        super().__init__(model, relax, **more)
        groups = len(model.sizes) - 1
        if groups > 1 and groups % 2:
            raise UserError(
                f"model.groups={groups}: GumBolt and PWL take 1 group or an even number"
            )

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        # The energy minus the entropies. The energy is linear in side 2, so the means of its groups
        # may take the place of their zeta (Rao-Blackwell). A single group has independent bits, so
        # both sides may be taken at their means.
        half = len(zeta) // 2
        values = zeta[:half] + [torch.sigmoid(v) for v in logits[half:]]
        return -self.model.prior().negative_energy(*self.model.sides(values)) - sum(
            bernoulli.entropy(v) for v in logits
        )

    def log_prior_ratio(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        log_q = sum(bernoulli.log_prob(z, v) for z, v in zip(zeta, logits, strict=True))
        return self.model.prior().negative_energy(*self.model.sides(zeta)) - log_q


class GumBolt(DiscretePlugIn):
    """The concrete relaxation; ``beta`` is its inverse temperature."""

    tiny = ({**FEW_CHAINS, "samples": 2},)

    def __init__(self, model: RBMVAE, beta: float | None = None, **more: Any) -> None:
        super().__init__(model, relaxation("concrete", beta, ("concrete",)), **more)


class PWL(DiscretePlugIn):
    """The piecewise-linear relaxation.

    Args:
        model: See ``trains``.
        beta: Sharpness of the relaxation; None: its default.
        stop_slope: Whether its slope counts as a constant in the gradient.
        **more: The settings of WeightedObjective.
    """

    tiny = (FEW_CHAINS,)

    def __init__(
        self, model: RBMVAE, beta: float | None = None, stop_slope: bool = False, **more: Any
    ) -> None:
        relax = relaxation("piecewise_linear", beta, ("piecewise_linear",), stop_slope=stop_slope)
        super().__init__(model, relax, **more)
