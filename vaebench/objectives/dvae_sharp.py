"""DVAE#: overlapping smoothings and the marginal p(zeta).

Reference: Vahdat, Andriyash & Macready 2018, arXiv 1805.07445.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vaebench.dists import mean_field
from vaebench.dists.smoothing import Overlapping
from vaebench.models.rbm_vae import RBMVAE
from vaebench.objectives.directed import OVERLAPPING, WeightedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS


class DVAESharp(WeightedObjective):
    """The ELBO with log q(zeta | x) - log p(zeta) at samples, with the bits summed out of both.

    For p(zeta) the sum over the bits is approximated by mean field. r(zeta | 0) is a factor of both
    q(zeta | x) and p(zeta), and left out of both. What remains of log q for a unit is log[(1 - q) +
    q exp(Lambda)], which is finite even if the densities of the smoothing diverge. With several
    samples the importance-weighted bound is maximised.
    """

    tiny = ({**FEW_CHAINS, "samples": 2},)

    relax: Overlapping

    def __init__(
        self, model: RBMVAE, smoothing: str = "exponential", beta: float | None = None, **more: Any
    ) -> None:
        super().__init__(model, relaxation(smoothing, beta, OVERLAPPING), **more)

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        return -self.log_prior_ratio(zeta, logits)

    def log_prior_ratio(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        # Lambda = log r(zeta | 1) - log r(zeta | 0) of every unit, (k, batch, n) for each group.
        evidence = [self.relax.log_ratio(z) for z in zeta]

        # log[(1 - q) + q exp(Lambda)] in terms of the logit v of q.
        log_q = [
            (F.softplus(v + e) - F.softplus(v)).sum(-1)
            for v, e in zip(logits, evidence, strict=True)
        ]
        # Summing the bits out of p(z) r(zeta | z) / r(zeta | 0) adds Lambda to the biases.
        log_p = mean_field.log_partition(self.model.prior(), *self.model.sides(evidence))
        return log_p - sum(log_q)
