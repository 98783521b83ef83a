"""What every smoothing of binary units shares: the noise, stable formulas, checks of settings.

A unit has the logit l and q = sigmoid(l) = P(z = 1). Everything is elementwise, so logits, noise
and samples may have any shapes that broadcast. All noise is uniform on (0, 1). A zero in it becomes
a tiny positive number (``noise.inside``).
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
    """A random variable zeta near 0 or 1, given a logit; gradients pass through it."""

    uniforms: ClassVar[int] = 1
    """Uniform numbers that ``sample`` takes for each unit."""
    support: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The least and the greatest value of zeta."""

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (uniforms, *shape of the result).

        It is differentiable in ``logit`` at fixed noise.
        """
        raise NotImplementedError

    def bits(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return hard bits z = 1[u[0] > 1 - q]: zeros and ones of the logit's dtype.

        They are the limit without smoothing. No gradient passes.
        """
        return (excess(inside(u[0]), logit.detach()) > 0).to(logit.dtype)


@runtime_checkable
class Invertible(Protocol):
    """A smoothing whose distribution function has an inverse in closed form."""

    def inverse_cdf(self, rho: Tensor, logit: Tensor) -> Tensor:
        """Return the zeta at which the distribution function is ``rho``."""


def excess(rho: Tensor, logit: Tensor) -> Tensor:
    """Return rho - (1 - q), to the precision of the smaller of (1 - q, rho) and (q, 1 - rho).

    Neither 1 - q nor q is found by subtracting the other from 1, which would leave no correct
    digit at large logits.
    """
    return torch.where(logit > 0, rho - torch.sigmoid(-logit), torch.sigmoid(logit) - (1.0 - rho))


def log_positive_root(log_a: Tensor, b: Tensor, log_c: Tensor) -> Tensor:
    """Return log m of the positive root m of a m^2 + b m - c = 0 with a, c > 0.

    Nothing cancels: m = 2c / T for b > 0 and T / (2a) otherwise, with T = |b| + sqrt(b^2 + 4ac).
    The square root is computed relative to the greater of |b| and sqrt(4ac), because both squares
    may be too small for the number format.
    """
    # sqrt(b^2 + 4ac) = greater sqrt(1 + ratio^2). The smallest normal number keeps 0 / 0 away if
    # both terms vanish.
    abs_b = b.abs()
    root_of_4ac = 2.0 * torch.exp(0.5 * (log_a + log_c))
    greater = torch.maximum(abs_b, root_of_4ac) + torch.finfo(b.dtype).tiny
    ratio = torch.minimum(abs_b, root_of_4ac) / greater

    log_total = torch.log(abs_b + greater * torch.sqrt(1.0 + ratio * ratio))
    return torch.where(b > 0, math.log(2) + log_c - log_total, log_total - math.log(2) - log_a)


def check_positive(name: str, value: Any) -> None:
    """Raise UserError unless ``value`` is a positive finite number."""
    validate.positive(f"smoothing.{name}", value)
