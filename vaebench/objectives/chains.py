"""Persistent chains of a Boltzmann machine that end in relaxed sweeps, for DVAE##.

A chain makes s block Gibbs sweeps of bits, without gradient, and its state after these is kept.
Then it makes t relaxed sweeps, zeta2 = r(b2 + W' z1, u2) and zeta1 = r(b1 + W zeta2, u1), which are
differentiable in the RBM's parameters at fixed noise (Vahdat, Andriyash & Macready 2020).

So the gradient follows the parameters only through the last t sweeps. Their effect on the
distribution of the chain before these is left out. That costs nothing once q has reached its
target; otherwise it biases the gradient, the less the larger t is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.dists import smoothing
from vaebench.dists.rbm import RBM
from vaebench.settings import validate

RELAXATIONS = ("piecewise_linear", "concrete")
"""Relaxations whose samples are inserted into densities of bits."""


class Relaxed(NamedTuple):
    """Where chains end; all values are between 0 and 1.

    Attributes:
        zeta1: Relaxed side 1, (k, *batch, n1).
        zeta2: Relaxed side 2, (k, *batch, n2).
        mean1: E[z1 | zeta2], (k, *batch, n1), with which ``zeta1`` was drawn: side 1 by
            Rao-Blackwell.
    """

    zeta1: Tensor
    zeta2: Tensor
    mean1: Tensor


def relaxation(name: str, beta: float | None) -> smoothing.Smoothing:
    """Build the relaxation of that name.

    Args:
        name: One of RELAXATIONS.
        beta: Sharpness of the relaxation; None: its default.

    Raises:
        UserError: For another name or a bad ``beta``.
    """
    validate.one_of("objective.relaxation", name, RELAXATIONS)
    settings = {} if beta is None else {"beta": validate.positive("objective.beta", beta)}
    return smoothing.build({"name": name, **settings})


def check_sweeps(discrete: int, relaxed: int) -> None:
    """Raise a UserError unless there is at least one sweep of each kind."""
    validate.whole("objective.discrete_sweeps", discrete)
    validate.whole("objective.relaxed_sweeps", relaxed)


def relaxed_sweeps(
    rbm: RBM, z1: Tensor, relax: smoothing.Smoothing, u2: Tensor, u1: Tensor
) -> Relaxed:
    """Make t relaxed sweeps from ``z1``.

    Args:
        rbm: The Boltzmann machine.
        z1: Side 1, (k, *batch, n1).
        relax: The relaxation of the bits.
        u2: Noise of side 2, (t, k, *batch, n2).
        u1: Noise of side 1, (t, k, *batch, n1).
    """
    zeta1 = z1
    for v2, v1 in zip(u2.unbind(), u1.unbind(), strict=True):
        # A relaxation wants its noise as (uniforms per unit, *shape); these take one per unit.
        zeta2 = relax.sample(rbm.logits2(zeta1), v2.unsqueeze(0))
        logits1 = rbm.logits1(zeta2)
        zeta1 = relax.sample(logits1, v1.unsqueeze(0))
    return Relaxed(zeta1, zeta2, torch.sigmoid(logits1))


def advance(
    rbm: RBM, z1: Tensor, relax: smoothing.Smoothing, discrete: int, u2: Tensor, u1: Tensor
) -> tuple[Tensor, Tensor, Relaxed]:
    """Make s discrete sweeps, then as many relaxed ones, t, as there is noise left for.

    Args:
        rbm: The Boltzmann machine.
        z1: Bits of side 1, (k, *batch, n1).
        relax: The relaxation of the bits.
        discrete: s.
        u2: Noise of side 2, (s + t, k, *batch, n2).
        u1: Noise of side 1, (s + t, k, *batch, n1).

    Returns:
        The bits of both sides after the discrete sweeps, of which side 1 is to be kept, and where
        the relaxed sweeps end.
    """
    z1, z2 = rbm.gibbs(z1.to(rbm.b1.dtype), u2[:discrete], u1[:discrete])
    return z1, z2, relaxed_sweeps(rbm, z1, relax, u2[discrete:], u1[discrete:])
