"""DVAE++: overlapping smoothings, with the KL in closed form for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists.smoothing import Overlapping
from vaebench.models.rbm_vae import RBMVAE
from vaebench.objectives.directed import OVERLAPPING, DirectedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS


class DVAEPlusPlus(DirectedObjective):
    """The ELBO with KL(q(zeta, z | x) || p(zeta, z)), exact over the bits given their samples zeta.

    The densities r(zeta | z) of posterior and prior cancel. The energy remains, minus the entropy
    of every group given the zeta below. In the energy the couplings between the sides need E[z1 |
    zeta1], the posterior mean of the bits once their zeta is known. With one group side 2 does not
    depend on side 1, so the mean of z1 without zeta is used.

    Reference: Vahdat et al. 2018, section 4.
    """

    tiny = ({**FEW_CHAINS, "samples": 2},)

    relax: Overlapping

    def __init__(
        self, model: RBMVAE, smoothing: str = "exponential", beta: float | None = None, **more: Any
    ) -> None:
        super().__init__(model, relaxation(smoothing, beta, OVERLAPPING), **more)

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        sides = self.model.sides
        mean1, mean2 = sides([torch.sigmoid(v) for v in logits])

        # With several groups side 2 is drawn given zeta1. So the couplings need E[z1 | zeta1] =
        # sigmoid(l + Lambda(zeta1)). Nothing that side 2 is coupled to is drawn given zeta2, so
        # there the mean without zeta remains.
        if len(zeta) > 1:
            given_zeta = [
                torch.sigmoid(self.relax.posterior_logit(z, v))
                for z, v in zip(zeta, logits, strict=True)
            ]
            mean1 = sides(given_zeta)[0]

        return self.expected_kl(logits, mean1, mean2)
