"""A mixture of two truncated exponentials on [0, 1].

Vahdat et al. 2018, DVAE++, section 3 and appendix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.smoothing.base import check_positive, excess, log_positive_root
from vaebench.dists.smoothing.overlapping import Overlapping


@dataclass(frozen=True)
class Exponential(Overlapping):
    """r0 = beta exp(-beta zeta) / (1 - exp(-beta)), r1(zeta) = r0(1 - zeta).

    zeta becomes a Bernoulli variable as beta goes to infinity.
    """

    uniforms: ClassVar[int] = 1

    beta: float = 8.0

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    @property
    def mass(self) -> float:
        """1 - exp(-beta)."""
        return -math.expm1(-self.beta)

    def log_r0(self, zeta: Tensor) -> Tensor:
        return math.log(self.beta / self.mass) - self.beta * zeta

    def log_ratio(self, zeta: Tensor) -> Tensor:
        return self.beta * (2.0 * zeta - 1.0)

    def cdf0(self, zeta: Tensor) -> Tensor:
        return -torch.expm1(-self.beta * zeta) / self.mass

    def cdf1(self, zeta: Tensor) -> Tensor:
        return torch.exp(self.beta * (zeta - 1.0)) * self.cdf0(zeta)

    def gap(self, zeta: Tensor) -> Tensor:
        # F1 = exp(-beta (1 - zeta)) F0, so F0 - F1 = F0 (1 - exp(-beta (1 - zeta))).
        return self.mass * self.cdf0(zeta) * self.cdf0(1.0 - zeta)

    def draw0(self, u: Tensor) -> Tensor:
        return (-torch.log1p(-self.mass * u) / self.beta).clamp(0.0, 1.0)

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the zeta at which the mixture's distribution function is ``rho``.

        No gradient passes; see ``sample``. With d = exp(-beta), m = exp(-beta zeta) solves (1 - q)
        m^2 + [rho - (1 - q) + d (q - rho)] m - q d = 0.
        """
        rho = rho.detach()
        logit = logit.detach()

        # a = 1 - q and c = q d are given by their logarithms.
        b = excess(rho, logit) + math.exp(-self.beta) * (torch.sigmoid(logit) - rho)
        log_m = log_positive_root(F.logsigmoid(-logit), b, F.logsigmoid(logit) - self.beta)
        return (-log_m / self.beta).clamp(0.0, 1.0)

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (1, *shape) by the inverse distribution function."""
        return self.attach(self.inverse_cdf(u[0], logit), logit)
