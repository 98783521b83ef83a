"""Truncated exponentials with a uniform floor on [0, 1].

Vahdat, Andriyash & Macready 2018, DVAE#.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.dists.smoothing.base import check_positive
from vaebench.dists.smoothing.exponential import Exponential
from vaebench.dists.smoothing.overlapping import Overlapping
from vaebench.errors import UserError


@dataclass(frozen=True)
class UniformExponential(Overlapping):
    """r0 = (1 - eps) times the density of ``Exponential`` plus eps, r1(zeta) = r0(1 - zeta).

    The floor bounds |Lambda| by about log(beta / eps). As beta goes to infinity, zeta becomes a
    mixture of a Bernoulli variable and, with weight eps, a uniform one.
    """

    beta: float = 30.0
    eps: float = 0.05

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)
        check_positive("eps", self.eps)
        if self.eps >= 1:
            raise UserError(f"smoothing.eps={self.eps!r}: must be below 1")

    @property
    def peak(self) -> Exponential:
        """The component that is not uniform."""
        return Exponential(self.beta)

    def log_r0(self, zeta: Tensor) -> Tensor:
        peak = math.log1p(-self.eps) + self.peak.log_r0(zeta)
        return torch.logaddexp(peak, torch.full_like(peak, math.log(self.eps)))

    def cdf0(self, zeta: Tensor) -> Tensor:
        return (1.0 - self.eps) * self.peak.cdf0(zeta) + self.eps * zeta

    def cdf1(self, zeta: Tensor) -> Tensor:
        return (1.0 - self.eps) * self.peak.cdf1(zeta) + self.eps * zeta

    def gap(self, zeta: Tensor) -> Tensor:
        # The uniform parts of F0 and F1 are equal and cancel.
        return (1.0 - self.eps) * self.peak.gap(zeta)

    def draw0(self, u: Tensor) -> Tensor:
        """Return zeta ~ r0, drawn with one uniform number ``u``.

        The number first chooses the component and then, rescaled, the place in it.
        """
        uniform = (u / self.eps).clamp(max=1.0)
        peak = self.peak.draw0(((u - self.eps) / (1.0 - self.eps)).clamp(0.0, 1.0))
        return torch.where(u < self.eps, uniform, peak)
