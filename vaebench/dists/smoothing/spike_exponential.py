"""Spike-and-exponential smoothing on [0, 1] (Rolfe 2017, DVAE)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.smoothing.base import Smoothing, check_positive, excess

CLIP = 1e-7
"""q is clipped to [CLIP, 1 - CLIP]."""


@dataclass(frozen=True)
class SpikeExponential(Smoothing):
    """zeta = 0 for z = 0, density beta exp(beta zeta) / (exp(beta) - 1) for z = 1.

    The two distributions do not overlap.
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the quantile of ``rho``; gradients pass to ``logit``.

        It is 0 for rho <= 1 - q, else log(1 + (exp(beta) - 1) (rho + q - 1) / q) / beta.
        """
        logit = _clip(logit)
        above = excess(rho, logit)
        on = above > 0

        # If z = 0 the logarithm gets a 1 instead: a NaN in the branch not taken would spoil the
        # gradient.
        v = torch.where(on, above / torch.sigmoid(logit), 1.0)

        # exp(x) = (exp(beta) - 1) v. -logsigmoid(-x) = log(1 + exp(x)) is exact also at large x,
        # where softplus switches to a linear function.
        x = self.beta + math.log(-math.expm1(-self.beta)) + torch.log(v)
        zeta = (-F.logsigmoid(-x) / self.beta).clamp(max=1.0)
        return torch.where(on, zeta, 0.0)

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (1, *shape) by the inverse distribution function.

        The gradient is the path derivative, 0 where zeta is 0. It does not see the bits switch: the
        gradient of an expectation needs further terms (Rolfe 2017, appendix).
        """
        return self.inverse_cdf(u[0], logit)

    def bits(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return z = 1[u[0] > 1 - q] with q clipped as in ``sample``.

        It always equals ``active(sample(logit, u))``.
        """
        return super().bits(_clip(logit), u)

    def active(self, zeta: Tensor) -> Tensor:
        """Return z exactly: 1[zeta > 0], zeros and ones."""
        return (zeta > 0).to(zeta.dtype)


def _clip(logit: Tensor) -> Tensor:
    # The logits of CLIP and 1 - CLIP.
    bound = math.log1p(-CLIP) - math.log(CLIP)
    return logit.clamp(-bound, bound)
