"""A mixture of two logistic distributions on the real line.

Vahdat et al. 2018, DVAE++, appendix B.
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
from vaebench.rng.noise import inside


@dataclass(frozen=True)
class Logistic(Overlapping):
    """r0 and r1 are logistic densities of ``scale`` s around 0 and 1.

    zeta becomes a Bernoulli variable as s goes to 0. The paper does not print the scale; 0.1 is
    this project's default.
    """

    uniforms: ClassVar[int] = 1
    support: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    scale: float = 0.1

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def log_r0(self, zeta: Tensor) -> Tensor:
        x = zeta / self.scale
        return F.logsigmoid(x) + F.logsigmoid(-x) - math.log(self.scale)

    def log_r1(self, zeta: Tensor) -> Tensor:
        return self.log_r0(zeta - 1.0)

    def log_ratio(self, zeta: Tensor) -> Tensor:
        # log r0 = -x + 2 log sigmoid(x) - log s: the linear terms leave exactly 1 / s.
        return 1.0 / self.scale + 2.0 * (
            F.logsigmoid((zeta - 1.0) / self.scale) - F.logsigmoid(zeta / self.scale)
        )

    def cdf0(self, zeta: Tensor) -> Tensor:
        return torch.sigmoid(zeta / self.scale)

    def cdf1(self, zeta: Tensor) -> Tensor:
        return torch.sigmoid((zeta - 1.0) / self.scale)

    def gap(self, zeta: Tensor) -> Tensor:
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)).
        return self.cdf0(zeta) * self.cdf0(1.0 - zeta) * -math.expm1(-1.0 / self.scale)

    def draw0(self, u: Tensor) -> Tensor:
        # The logit inverts the distribution function; noise 0 or 1 would give infinity.
        u = inside(u)
        return self.scale * (torch.log(u) - torch.log1p(-u))

    def sample_given(self, z: Tensor, u: Tensor) -> Tensor:
        """Return zeta ~ r(. | z) given ``z`` of zeros and ones.

        The uniforms ``u`` broadcast to ``z``. No gradient passes.
        """
        return z.detach() + self.draw0(u.detach())

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the zeta at which the mixture's distribution function is ``rho``.

        No gradient passes; see ``sample``. With a = 1 / (2s), m = exp((1/2 - zeta) / s) solves
        rho exp(-a) m^2 + [(rho - q) exp(-2a) + rho - (1 - q)] m - (1 - rho) exp(-a) = 0. The
        equation has been divided by exp(a), which overflows at small s.
        """
        rho = inside(rho.detach())
        logit = logit.detach()
        a = 0.5 / self.scale
        b = (rho - torch.sigmoid(logit)) * math.exp(-2.0 * a) + excess(rho, logit)
        return 0.5 - self.scale * log_positive_root(torch.log(rho) - a, b, torch.log1p(-rho) - a)

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (1, *shape) by the inverse distribution function."""
        return self.attach(self.inverse_cdf(u[0], logit), logit)
