"""Power-function smoothing on [0, 1] (Vahdat, Andriyash & Macready 2018, DVAE#)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.dists.smoothing.base import check_positive
from vaebench.dists.smoothing.overlapping import Overlapping


@dataclass(frozen=True)
class Power(Overlapping):
    """r0 = lambda zeta^(lambda - 1), lambda = 1 / beta, r1(zeta) = r0(1 - zeta).

    zeta becomes a Bernoulli variable as beta goes to infinity. The densities diverge at 0 and 1,
    where most of the mass lies: at beta 30, 57 % of r1 is within 2^-24 of 1, where float32 has no
    number but 1 itself. So samples are clipped to [e, 1 - e], with e half the machine epsilon
    (2^-24 in float32), and the log-densities take zeta clipped in the same way.

    There is no gradient where the clip acts. There d zeta / d logit is below 2 beta e. Lambda still
    changes, but it counts only through sigmoid(logit + Lambda), which is nearly constant at so
    large a Lambda. Within [e, 1 - e] the densities are exactly those of the paper; hence |Lambda|
    <= (1 - lambda) log(1 / e - 1). The usual remedy adds a constant of the size of e to zeta inside
    the powers. It changes the densities everywhere, and at beta 30 they then integrate to 0.42.
    """

    beta: float = 30.0

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    @property
    def exponent(self) -> float:
        """lambda = 1 / beta."""
        return 1.0 / self.beta

    def log_r0(self, zeta: Tensor) -> Tensor:
        return math.log(self.exponent) + (self.exponent - 1.0) * torch.log(clip(zeta))

    def log_r1(self, zeta: Tensor) -> Tensor:
        return math.log(self.exponent) + (self.exponent - 1.0) * torch.log1p(-clip(zeta))

    def log_ratio(self, zeta: Tensor) -> Tensor:
        zeta = clip(zeta)
        return (self.exponent - 1.0) * (torch.log1p(-zeta) - torch.log(zeta))

    def cdf0(self, zeta: Tensor) -> Tensor:
        return zeta**self.exponent

    def cdf1(self, zeta: Tensor) -> Tensor:
        return -torch.expm1(self.exponent * torch.log1p(-zeta))

    def draw0(self, u: Tensor) -> Tensor:
        return u**self.beta

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (2, *shape): z by u[0] as in ``bits``, zeta given z by u[1].

        The result lies within [e, 1 - e].
        """
        return clip(super().sample(logit, u))


def clip(zeta: Tensor) -> Tensor:
    """Return ``zeta`` clipped to [e, 1 - e]; no gradient passes where the clip acts."""
    e = torch.finfo(zeta.dtype).eps / 2
    return zeta.clamp(e, 1.0 - e)
