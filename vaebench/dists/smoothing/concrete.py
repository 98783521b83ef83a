"""The binary concrete relaxation, as in GumBolt (Khoshaman & Amin 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.smoothing.base import Smoothing, check_positive

CLIP = 1e-5
"""The noise is clipped to [CLIP, 1 - CLIP]."""


@dataclass(frozen=True)
class Concrete(Smoothing):
    """zeta = sigmoid(beta (l + logit(rho))).

    ``beta`` is an INVERSE temperature. zeta > 1/2 when z = 1.
    """

    beta: float = 10.0

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the quantile of ``rho``, increasing in it; gradients pass to ``logit``."""
        rho = rho.clamp(CLIP, 1.0 - CLIP)
        return torch.sigmoid(self.beta * (logit + torch.log(rho) - torch.log1p(-rho)))

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (1, *shape)."""
        return self.inverse_cdf(u[0], logit)

    def log_density(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return log q(zeta), nats.

        GumBolt does not use it: it puts zeta into the log-probabilities of discrete bits. Samples
        may round to 0 or 1. These are replaced by the nearest number inside (0, 1) that the format
        can tell from them.
        """
        zeta = zeta.clamp(torch.finfo(zeta.dtype).tiny, 1.0 - torch.finfo(zeta.dtype).eps / 2)
        log_zeta = torch.log(zeta)
        log_rest = torch.log1p(-zeta)

        # x = logit(zeta) / beta - l is logistic, with density sigmoid(x) sigmoid(-x). The other
        # terms are log dx / dzeta = -log(beta zeta (1 - zeta)).
        x = (log_zeta - log_rest) / self.beta - logit
        return F.logsigmoid(x) + F.logsigmoid(-x) - math.log(self.beta) - log_zeta - log_rest
