"""Mixtures of two Gaussians on the real line (Vahdat, Andriyash & Macready 2018, DVAE#).

``Gaussian`` is the smoothing with one fixed width. The functions at the end are the posterior for a
prior with the Gaussian integral trick; their shift and widths are trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.smoothing.base import check_positive, excess
from vaebench.dists.smoothing.overlapping import Overlapping
from vaebench.rng.noise import inside


@dataclass(frozen=True)
class Gaussian(Overlapping):
    """r0 = N(0, sigma^2), r1 = N(1, sigma^2), sigma = beta^(-1/2).

    zeta becomes a Bernoulli variable as beta goes to infinity.
    """

    support: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    beta: float = 30.0

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    @property
    def sigma(self) -> float:
        """Standard deviation of either Gaussian."""
        return self.beta**-0.5

    def log_r0(self, zeta: Tensor) -> Tensor:
        return 0.5 * math.log(self.beta / (2.0 * math.pi)) - 0.5 * self.beta * zeta * zeta

    def log_ratio(self, zeta: Tensor) -> Tensor:
        return self.beta * (zeta - 0.5)

    def cdf0(self, zeta: Tensor) -> Tensor:
        return _phi(zeta / self.sigma)

    def cdf1(self, zeta: Tensor) -> Tensor:
        return _phi((zeta - 1.0) / self.sigma)

    def gap(self, zeta: Tensor) -> Tensor:
        return _gap(zeta, self.sigma)

    def draw0(self, u: Tensor) -> Tensor:
        return self.sigma * torch.special.ndtri(inside(u))

    def sample_given(self, z: Tensor, u: Tensor) -> Tensor:
        """Return zeta ~ r(. | z) given ``z`` of zeros and ones.

        The uniforms ``u`` broadcast to ``z``. No gradient passes.
        """
        return z.detach() + self.draw0(u.detach())


def gaussian_mixture_log_density(
    zeta: Tensor, logit: Tensor, delta: Tensor, sigma: Tensor
) -> Tensor:
    """Return log[(1 - q) N(zeta; delta, sigma^2) + q N(zeta; 1 + delta, sigma^2)], nats.

    Gradients pass to all four arguments.
    """
    x = zeta - delta
    r0 = -0.5 * (x / sigma) ** 2
    r1 = -0.5 * ((x - 1.0) / sigma) ** 2
    mixture = torch.logaddexp(F.logsigmoid(-logit) + r0, F.logsigmoid(logit) + r1)
    return mixture - torch.log(sigma) - 0.5 * math.log(2.0 * math.pi)


def gaussian_mixture_sample(logit: Tensor, delta: Tensor, sigma: Tensor, u: Tensor) -> Tensor:
    """Return zeta, drawn from ``gaussian_mixture_log_density`` with ``u`` (2, *shape).

    Gradients pass to ``logit``, ``delta`` and ``sigma`` > 0. They come from differentiating the
    mixture's distribution function implicitly at a fixed quantile. With x = zeta - delta:
    d zeta / d delta = 1, d zeta / d logit is that of every overlapping smoothing, and
    d zeta / d sigma = [(1 - q) r0 x + q r1 (x - 1)] / (sigma q(zeta)) = (x - P(z = 1 | zeta)) /
    sigma. The formula with zeta in the place of x, which is also in use, holds only at delta = 0.
    """
    # The values of the arguments, through which no gradient passes.
    logit0 = logit.detach()
    delta0 = delta.detach()
    sigma0 = sigma.detach()

    # zeta - delta: a bit by u[0], and a normal number by u[1].
    x = (excess(u[0], logit0) > 0).to(logit0.dtype) + sigma0 * torch.special.ndtri(inside(u[1]))

    # log of r0 / q + r1 / (1 - q), as in ``Overlapping.slope``. The factor 1 / (sqrt(2 pi) sigma)
    # of both densities follows below.
    log_inverse = torch.logaddexp(
        -0.5 * (x / sigma0) ** 2 - F.logsigmoid(logit0),
        -0.5 * ((x - 1.0) / sigma0) ** 2 - F.logsigmoid(-logit0),
    )

    by_logit = math.sqrt(2.0 * math.pi) * sigma0 * _gap(x, sigma0) * torch.exp(-log_inverse)
    by_sigma = (x - torch.sigmoid(logit0 + (x - 0.5) / sigma0**2)) / sigma0

    # The value is x + delta. Each difference is zero and contributes its derivative only.
    return x + delta0 + by_logit * (logit - logit0) + (delta - delta0) + by_sigma * (sigma - sigma0)


def _phi(x: Tensor) -> Tensor:
    """Return the normal distribution function of ``x``.

    torch's own function loses the digits of its lower tail in float32.
    """
    return 0.5 * torch.special.erfc(-math.sqrt(0.5) * x)


def _gap(zeta: Tensor, sigma: Tensor | float) -> Tensor:
    """Return Phi(zeta / sigma) - Phi((zeta - 1) / sigma).

    It is symmetric about 1/2 and computed in the left half, where nothing cancels.
    """
    left = 0.5 - (zeta - 0.5).abs()
    return _phi(left / sigma) - _phi((left - 1.0) / sigma)
