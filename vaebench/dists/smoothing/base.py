"""What every smoothing of binary units shares.

The noise convention, stable pieces, checks of settings. A unit has the logit l and q = sigmoid(l) =
P(z = 1). Everything is elementwise, so logits, noise and samples may have any shapes that
broadcast. All noise is uniform on (0, 1); a zero counts as the least noise above it
(``noise.inside``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from vaebench.rng.noise import inside
from vaebench.settings import validate


@dataclass(frozen=True)
class Smoothing:
    """A random variable zeta given a logit, near 0 or 1, through which gradients pass."""

    uniforms: ClassVar[int] = 1
    """How many uniforms ``sample`` takes for a unit."""
    support: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The least and the greatest value of zeta."""

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """zeta from ``u`` (uniforms, *shape of the result).

        Differentiable in ``logit`` at fixed noise.
        """
        raise NotImplementedError

    def bits(self, logit: Tensor, u: Tensor) -> Tensor:
        """The limit without smoothing: z = 1[u[0] > 1 - q], zeros and ones of the logit's dtype.

        No gradient passes.
        """
        return (excess(inside(u[0]), logit.detach()) > 0).to(logit.dtype)


@runtime_checkable
class Invertible(Protocol):
    """A smoothing whose distribution function has an inverse in closed form."""

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """zeta at which the distribution function is ``rho``."""


def excess(rho: Tensor, logit: Tensor) -> Tensor:
    """rho - (1 - q), to the precision of the smaller of (1 - q, rho) and (q, 1 - rho).

    Neither 1 - q nor q comes from subtracting the other from 1, which would leave no digit
    of it at large logits.
    """
    return torch.where(logit > 0, rho - torch.sigmoid(-logit), torch.sigmoid(logit) - (1.0 - rho))


def log_positive_root(log_a: Tensor, b: Tensor, log_c: Tensor) -> Tensor:
    """log m of the positive root of a m^2 + b m - c = 0 with a, c > 0, without cancellation.

    m = 2c / T for b > 0 and T / (2a) otherwise, T = |b| + sqrt(b^2 + 4ac). The root of the sum of
    squares is taken relative to the greater of the two, for both squares may be too small for the
    number format.
    """
    size = b.abs()
    mixed = 2.0 * torch.exp(0.5 * (log_a + log_c))
    greater = torch.maximum(size, mixed) + torch.finfo(b.dtype).tiny
    t = torch.minimum(size, mixed) / greater
    log_total = torch.log(size + greater * torch.sqrt(1.0 + t * t))
    return torch.where(b > 0, math.log(2) + log_c - log_total, log_total - math.log(2) - log_a)


def check_positive(name: str, value: Any) -> None:
    """Raises UserError unless ``value`` is a positive finite number."""
    validate.positive(f"smoothing.{name}", value)
