"""Restricted Boltzmann machines over two sides of bits.

p(z1, z2) = exp(-E) / Z, -E = b1.z1 + b2.z2 + z1' W z2. This is the prior of the DVAE family (Rolfe
2017; Vahdat et al. 2018, DVAE++, whose E has the opposite sign), and, with one RBM per example,
the posterior of DVAE## (Vahdat, Andriyash & Macready 2020). Given one side, the units of the other
are independent, so a whole side is drawn at once: block Gibbs sampling.

RBMs may be batched over any leading shape. Samples have one more axis in front: z (k, *batch,
n). All randomness is uniform noise on (0, 1) that the caller gives. The noise of a chain must not
contain an exact 0 (``vaebench.rng.noise`` draws none).
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
    """Return 1[u > 1 - sigmoid(logit)] as 0.0 and 1.0 of the logit's type.

    This inverts the distribution function of a Bernoulli variable. Every relaxation of the bits
    tends to it as it hardens. A zero in ``u`` becomes a tiny positive number
    (``noise.inside``). No gradient passes.
    """
    return _above(inside(u), torch.sigmoid(-logit.detach())).to(logit.dtype)


class RBM(NamedTuple):
    """One RBM, or a batch of them.

    Biases ``b1`` (*batch, n1) and ``b2`` (*batch, n2), and couplings ``w`` (*batch, n1, n2).
    """

    b1: Tensor
    b2: Tensor
    w: Tensor

    @property
    def shape(self) -> torch.Size:
        """The batch's shape; empty for a single RBM."""
        return self.b1.shape[:-1]

    def swap(self) -> RBM:
        """Return the same RBM with its sides exchanged."""
        return RBM(self.b2, self.b1, self.w.mT)

    def to(self, place: torch.dtype | torch.device | str) -> RBM:
        """Return the RBM in another dtype or on another device."""
        return RBM(self.b1.to(place), self.b2.to(place), self.w.to(place))

    def detach(self) -> RBM:
        """Return the same numbers, through which no gradient passes."""
        return RBM(self.b1.detach(), self.b2.detach(), self.w.detach())

    def logits1(self, z2: Tensor) -> Tensor:
        """Return the logits (k, *batch, n1) of side 1 given ``z2`` (k, *batch, n2).

        ``z2`` holds bits or values between 0 and 1.
        """
        if kernels.few(self.w, z2) and kernels.allowed():
            # With the couplings on the left, their gradient gets the same memory layout as they.
            return (self.w @ z2.movedim(0, -1)).movedim(-1, 0) + self.b1
        return _affine(self.b1, z2, self.w.mT)

    def logits2(self, z1: Tensor) -> Tensor:
        """Return the logits (k, *batch, n2) of side 2 given ``z1`` (k, *batch, n1).

        ``z1`` holds bits or values between 0 and 1.
        """
        return _affine(self.b2, z1, self.w)

    def mean1(self, z2: Tensor) -> Tensor:
        """Return E[z1 | z2], (k, *batch, n1)."""
        return torch.sigmoid(self.logits1(z2))

    def mean2(self, z1: Tensor) -> Tensor:
        """Return E[z2 | z1], (k, *batch, n2)."""
        return torch.sigmoid(self.logits2(z1))

    def negative_energy(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return -E(z1, z2) = log p(z1, z2) + log Z, (k, *batch), nats.

        It is linear in either side, so it takes relaxed values too.
        """
        # z2.(b2 + W' z1) covers the terms of side 2 and the couplings.
        return (z1 * self.b1).sum(-1) + (z2 * self.logits2(z1)).sum(-1)

    def free_energy1(self, z1: Tensor) -> Tensor:
        """Return -log sum_z2 exp(-E) = -log p(z1) - log Z, (k, *batch), nats."""
        return -(z1 * self.b1).sum(-1) - F.softplus(self.logits2(z1)).sum(-1)

    def sweep(self, z1: Tensor, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        """Make one block Gibbs sweep from ``z1`` (k, *batch, n1); return the new (z1, z2).

        Side 2 is drawn given side 1, then side 1 given the new side 2. ``u2`` (k, *batch, n2) and
        ``u1`` (k, *batch, n1) are the noise. No gradient passes.
        """
        return self.gibbs(z1, u2.unsqueeze(0), u1.unsqueeze(0))

    def gibbs(self, z1: Tensor, u2: Tensor | Digits, u1: Tensor | Digits) -> tuple[Tensor, Tensor]:
        """Make s block Gibbs sweeps from ``z1`` (k, *batch, n1); return the new (z1, z2).

        The noise is ``u2`` (s, k, *batch, n2) and ``u1`` (s, k, *batch, n1), with s at least 1. It
        may come as ``Digits``, which the kernels of a single RBM take as they are; for all
        other code they are made into uniforms. No gradient passes. Raises ValueError if the two
        sides have noise for different numbers of sweeps, or for none.
        """
        if (
            isinstance(u2, Digits)
            and isinstance(u1, Digits)
            and kernels.fits(self.w)
            and kernels.allowed()
        ):
            # One RBM for all chains: its couplings become a table, the chains words of bits.
            from vaebench.kernels.rbm import RBMKernel

            return RBMKernel(*self.detach()).gibbs(z1.detach(), u2, u1)

        u2 = u2.uniforms() if isinstance(u2, Digits) else u2
        u1 = u1.uniforms() if isinstance(u1, Digits) else u1
        if len(u2) != len(u1) or len(u1) < 1:
            raise ValueError(
                f"noise for {len(u2)} and {len(u1)} sweeps: both sides need the "
                "same number, at least 1"
            )

        if kernels.few(self.w, z1) and kernels.allowed():
            # An RBM of its own for each example, with few chains each.
            from vaebench.kernels.case_chains import gibbs

            return gibbs(*self.detach(), z1.detach(), u2, u1)

        # The product gives minus the logits at once, so u > sigmoid(-logit) needs no pass to change
        # the sign.
        negated = RBM(*(-p for p in self.detach()))
        z1 = z1.detach()
        for v2, v1 in zip(u2.unbind(), u1.unbind(), strict=True):
            z2 = _above(v2, torch.sigmoid(negated.logits2(z1)))
            z1 = _above(v1, torch.sigmoid(negated.logits1(z2)))
        return z1, z2


def _affine(bias: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """Return bias + z W of every RBM.

    Shapes: (*batch, m), (k, *batch, n), (*batch, n, m) -> (k, *batch, m).
    """
    if bias.dim() == 1:
        return product(z, w.mT, bias) if z.dim() == 2 else z @ w + bias

    if z.dim() != bias.dim() + 1:
        raise ValueError(
            f"samples {tuple(z.shape)} of RBMs {tuple(bias.shape[:-1])} need the "
            "shape (k, *batch, n)"
        )

    # A batch of RBMs: the samples of each become the rows of one matrix, (*batch, k, n).
    return (z.movedim(0, -2) @ w).movedim(-2, 0) + bias


def _above(u: Tensor, level: Tensor) -> Tensor:
    """Return 1[u > level] as floats.

    The difference is changed in place, because turning bools into floats costs more than the rest.
    """
    return (u - level).sign_().relu_()
