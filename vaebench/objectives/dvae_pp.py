"""DVAE++: overlapping smoothings, the KL in closed form for each sample.

Vahdat et al. 2018, section 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists.smoothing import Overlapping
from vaebench.models.rbm_vae import RBMVAE
from vaebench.objectives.directed import OVERLAPPING, DirectedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS


class DVAEPlusPlus(DirectedObjective):
    """KL(q(zeta, z | x) || p(zeta, z)).

    The expectation over the bits is taken exactly given the smoothed samples. The densities r(zeta
    | z) of posterior and prior cancel. What remains is minus the entropy of every group given the
    zeta below, and the energy, in which the pairs across the sides need E[z1 | zeta1]: the
    posterior of the bits once their zeta is known. With one group nothing of side 2 is conditioned
    on side 1, so its mean is the plain one.
    """

    tiny = ({**FEW_CHAINS, "samples": 2},)

    relax: Overlapping

    def __init__(
        self, model: RBMVAE, smoothing: str = "exponential", beta: float | None = None, **more: Any
    ) -> None:
        super().__init__(model, relaxation(smoothing, beta, OVERLAPPING), **more)

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        sides = self.model.sides
        pair1, pair2 = sides([torch.sigmoid(v) for v in logits])
        if len(zeta) > 1:
            posterior = [
                torch.sigmoid(self.relax.posterior_logit(z, v))
                for z, v in zip(zeta, logits, strict=True)
            ]
            pair1 = sides(posterior)[0]
        return self.expected_kl(logits, pair1, pair2)
