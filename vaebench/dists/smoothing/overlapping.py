"""Overlapping smoothings: zeta ~ r(zeta | z) with two densities on the same support.

The densities are r0 = r(. | 0) and r1 = r(. | 1). Summed over z ~ Bernoulli(q), zeta has the
mixture density q(zeta) = (1 - q) r0 + q r1 (Vahdat et al. 2018, DVAE++, section 3). However zeta
was drawn, it is the point at which the mixture's distribution function F = (1 - q) F0 + q F1
reaches some rho. Holding rho fixed, d zeta / d q = (F0 - F1) / q(zeta). So drawing first z and then
zeta has the distribution and the gradient of the inverse distribution function, which need not be
known.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.smoothing.base import Smoothing


class Overlapping(Smoothing):
    """Base class: a subclass gives ``log_r0``, ``cdf0`` and ``draw0``.

    By default r1(zeta) = r0(1 - zeta). Densities are in nats and per unit: nothing is summed.
    """

    uniforms: ClassVar[int] = 2

    def log_r0(self, zeta: Tensor) -> Tensor:
        """Return log r(zeta | z = 0), nats."""
        raise NotImplementedError

    def log_r1(self, zeta: Tensor) -> Tensor:
        """Return log r(zeta | z = 1), nats."""
        return self.log_r0(1.0 - zeta)

    def log_ratio(self, zeta: Tensor) -> Tensor:
        """Return Lambda(zeta) = log r1 - log r0, nats: what zeta tells about z."""
        return self.log_r1(zeta) - self.log_r0(zeta)

    def cdf0(self, zeta: Tensor) -> Tensor:
        """Return F0(zeta), the distribution function of r0."""
        raise NotImplementedError

    def cdf1(self, zeta: Tensor) -> Tensor:
        """Return F1(zeta), the distribution function of r1."""
        return 1.0 - self.cdf0(1.0 - zeta)

    def gap(self, zeta: Tensor) -> Tensor:
        """Return F0 - F1, which is positive.

        Subclasses write it so that nothing cancels at the ends of the support.
        """
        return self.cdf0(zeta) - self.cdf1(zeta)

    def draw0(self, u: Tensor) -> Tensor:
        """Return zeta ~ r0, drawn with one uniform number ``u``."""
        raise NotImplementedError

    def cdf(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return F(zeta), the distribution function of the mixture."""
        return torch.sigmoid(-logit) * self.cdf0(zeta) + torch.sigmoid(logit) * self.cdf1(zeta)

    def log_density(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return log q(zeta) = log[(1 - q) r0 + q r1], nats; gradients pass to both arguments."""
        return torch.logaddexp(
            F.logsigmoid(-logit) + self.log_r0(zeta), F.logsigmoid(logit) + self.log_r1(zeta)
        )

    def posterior_logit(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return the logit of P(z = 1 | zeta): l + Lambda(zeta)."""
        return logit + self.log_ratio(zeta)

    def sample_given(self, z: Tensor, u: Tensor) -> Tensor:
        """Return zeta ~ r(. | z) given ``z`` of zeros and ones.

        The uniforms ``u`` broadcast to ``z``. No gradient passes.
        """
        # By default r1 is r0 mirrored at 1/2.
        x = self.draw0(u.detach())
        return torch.where(z > 0.5, 1.0 - x, x)

    def sample(self, logit: Tensor, u: Tensor) -> Tensor:
        """Return zeta from ``u`` (2, *shape): z by u[0] as in ``bits``, zeta given z by u[1]."""
        return self.attach(self.sample_given(self.bits(logit, u), u[1]), logit)

    def slope(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return d zeta / d logit at a fixed quantile: q (1 - q) (F0 - F1) / q(zeta).

        It is computed as (F0 - F1) / [r0 / q + r1 / (1 - q)] with logarithms inside, so that it
        tends to 0 smoothly as q saturates.
        """
        log_inverse = torch.logaddexp(
            self.log_r0(zeta) - F.logsigmoid(logit), self.log_r1(zeta) - F.logsigmoid(-logit)
        )
        return self.gap(zeta) * torch.exp(-log_inverse)

    def attach(self, zeta: Tensor, logit: Tensor) -> Tensor:
        """Return ``zeta``, unchanged, with ``slope`` as its derivative by ``logit``."""
        # The difference of the logits is zero, so only its derivative counts.
        zeta = zeta.detach()
        logit_value = logit.detach()
        return zeta + self.slope(zeta, logit_value) * (logit - logit_value)
