"""The piecewise-linear relaxation (Andriyash, Vahdat & Macready 2018, arXiv 1810.00116)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.dists.smoothing.base import Smoothing, check_positive, excess
from vaebench.settings.validate import flag


@dataclass(frozen=True)
class PiecewiseLinear(Smoothing):
    """zeta = clip(1/2 + kappa (rho - (1 - q)), 0, 1), kappa = 0.25 beta / (q (1 - q) + 0.01).

    P(zeta > 1/2) = q exactly, because zeta > 1/2 if and only if z = 1. By default the gradient
    flows through the slope kappa too; ``stop_slope`` takes kappa as a constant.
    """

    beta: float = 4.0
    stop_slope: bool = False

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)
        flag("smoothing.stop_slope", self.stop_slope)

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the quantile of ``rho``, nondecreasing in it.

        Gradients pass to ``logit``, except where the clip acts.
        """
        kappa = 0.25 * self.beta / (torch.sigmoid(logit) * torch.sigmoid(-logit) + 0.01)
        if self.stop_slope:
            kappa = kappa.detach()
        return (0.5 + kappa * excess(rho, logit)).clamp(0.0, 1.0)

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (1, *shape)."""
        return self.inverse_cdf(u[0], logit)
