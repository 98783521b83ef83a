"""Restricted Boltzmann machines over two sides of bits.

p(z1, z2) = exp(-E) / Z, -E = b1.z1 + b2.z2 + z1' W z2. The prior of the DVAE family (Rolfe 2017;
Vahdat et al. 2018, DVAE++, whose E carries the opposite sign) and, one machine per case, the
posterior of DVAE## (Vahdat, Andriyash & Macready 2020). Given one side the units of the other are
independent, so a whole side is drawn at once: block Gibbs sampling.

Machines come batched over any leading shape, samples carry one more axis in front: z
(k, *batch, n). All randomness is uniform noise on (0, 1) given by the caller; a chain's must not
hold an exact 0 (``vaebench.rng.noise`` draws none).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench import kernels
from vaebench.nn.products import product
from vaebench.rng.noise import Digits, inside


def bits(logit: Tensor, u: Tensor) -> Tensor:
    """1[u > 1 - sigmoid(logit)] as 0.0 and 1.0 of the logit's type.

    The inverse of Bernoulli's distribution function. It is what every relaxation of the bits tends
    to as it hardens. A zero counts as the least noise above it (``noise.inside``). No gradient
    passes.
    """
    return _above(inside(u), torch.sigmoid(-logit.detach())).to(logit.dtype)


class RBM(NamedTuple):
    """Machines with biases ``b1`` (*batch, n1), ``b2`` (*batch, n2) and couplings.

    ``w`` (*batch, n1, n2): the couplings.
    """

    b1: Tensor
    b2: Tensor
    w: Tensor

    @property
    def shape(self) -> torch.Size:
        """The batch's shape; empty for a single machine."""
        return self.b1.shape[:-1]

    def swap(self) -> RBM:
        """The same machine with its sides exchanged."""
        return RBM(self.b2, self.b1, self.w.mT)

    def to(self, place: torch.dtype | torch.device | str) -> RBM:
        """The machine in another dtype or on another device."""
        return RBM(self.b1.to(place), self.b2.to(place), self.w.to(place))

    def detach(self) -> RBM:
        """The same numbers, through which no gradient passes."""
        return RBM(self.b1.detach(), self.b2.detach(), self.w.detach())

    def logits1(self, z2: Tensor) -> Tensor:
        """Logits (k, *batch, n1) of side 1 given ``z2`` (k, *batch, n2).

        Bits or values in between.
        """
        if kernels.few(self.w, z2) and kernels.allowed():
            # Couplings from the left: their gradient then lies in memory as they do.
            return (self.w @ z2.movedim(0, -1)).movedim(-1, 0) + self.b1
        return _affine(self.b1, z2, self.w.mT)

    def logits2(self, z1: Tensor) -> Tensor:
        """Logits (k, *batch, n2) of side 2 given ``z1`` (k, *batch, n1).

        Bits or values in between.
        """
        return _affine(self.b2, z1, self.w)

    def mean1(self, z2: Tensor) -> Tensor:
        """E[z1 | z2], (k, *batch, n1)."""
        return torch.sigmoid(self.logits1(z2))

    def mean2(self, z1: Tensor) -> Tensor:
        """E[z2 | z1], (k, *batch, n2)."""
        return torch.sigmoid(self.logits2(z1))

    def negative_energy(self, z1: Tensor, z2: Tensor) -> Tensor:
        """-E(z1, z2) = log p(z1, z2) + log Z, (k, *batch), nats.

        Linear in either side, so also for relaxed values.
        """
        return (z1 * self.b1).sum(-1) + (z2 * self.logits2(z1)).sum(-1)

    def free_energy1(self, z1: Tensor) -> Tensor:
        """-log sum_z2 exp(-E) = -log p(z1) - log Z, (k, *batch), nats."""
        return -(z1 * self.b1).sum(-1) - F.softplus(self.logits2(z1)).sum(-1)

    def sweep(self, z1: Tensor, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        """One block Gibbs sweep from ``z1`` (k, *batch, n1).

        Side 2 given side 1, then side 1 given the new side 2. ``u2`` (k, *batch, n2) and ``u1``
        (k, *batch, n1) are the noise. Returns the new (z1, z2); no gradient passes.
        """
        return self.gibbs(z1, u2.unsqueeze(0), u1.unsqueeze(0))

    def gibbs(self, z1: Tensor, u2: Tensor | Digits, u1: Tensor | Digits) -> tuple[Tensor, Tensor]:
        """s block Gibbs sweeps with noise ``u2`` (s, k, *batch, n2) and ``u1`` (s, k, *batch, n1).

        s is at least 1. Noise by its digits is for the kernels, of a single machine; where they do
        not take it, it is put together. Returns the new (z1, z2). No gradient passes. Raises
        ValueError without a sweep.
        """
        if (
            isinstance(u2, Digits)
            and isinstance(u1, Digits)
            and kernels.fits(self.w)
            and kernels.allowed()
        ):
            from vaebench.kernels.machine import Machine

            return Machine(*self.detach()).gibbs(z1.detach(), u2, u1)

        u2 = u2.uniforms() if isinstance(u2, Digits) else u2
        u1 = u1.uniforms() if isinstance(u1, Digits) else u1
        if len(u2) != len(u1) or len(u1) < 1:
            raise ValueError(
                f"noise for {len(u2)} and {len(u1)} sweeps: both sides need the "
                "same number, at least 1"
            )
        if kernels.few(self.w, z1) and kernels.allowed():
            from vaebench.kernels.case_chains import gibbs

            return gibbs(*self.detach(), z1.detach(), u2, u1)

        # Minus the logits come straight out of the product: u > sigmoid(-logit) then needs no pass
        # to turn the sign.
        down = RBM(*(-p for p in self.detach()))
        z1 = z1.detach()
        for v2, v1 in zip(u2.unbind(), u1.unbind(), strict=True):
            z2 = _above(v2, torch.sigmoid(down.logits2(z1)))
            z1 = _above(v1, torch.sigmoid(down.logits1(z2)))
        return z1, z2


def _affine(bias: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """bias + z W of every machine.

    (*batch, m), (k, *batch, n), (*batch, n, m) -> (k, *batch, m).
    """
    if bias.dim() == 1:
        return product(z, w.mT, bias) if z.dim() == 2 else z @ w + bias
    if z.dim() != bias.dim() + 1:
        raise ValueError(
            f"samples {tuple(z.shape)} of machines {tuple(bias.shape[:-1])} need the "
            "shape (k, *batch, n)"
        )
    return (z.movedim(0, -2) @ w).movedim(-2, 0) + bias


def _above(u: Tensor, level: Tensor) -> Tensor:
    """1[u > level] as floats.

    In place on the difference: turning bools into floats costs more than all the rest.
    """
    return (u - level).sign_().relu_()
