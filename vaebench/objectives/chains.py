"""Persistent chains of a Boltzmann machine that end in relaxed sweeps.

Vahdat, Andriyash & Macready 2020, DVAE##. A chain takes s block Gibbs sweeps of bits, through which
no gradient passes and after which it is kept, and then t relaxed sweeps, zeta2 = r(b2 + W' z1, u2)
and zeta1 = r(b1 + W zeta2, u1), that are differentiable in the machine at fixed noise. The gradient
so obtained follows the parameters through the last t sweeps only: what they did to the distribution
of the chain before those is left out, which costs nothing where q has reached its target and biases
the gradient elsewhere, the less the larger t.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.dists import smoothing
from vaebench.dists.rbm import RBM
from vaebench.settings import validate

RELAXATIONS = ("piecewise_linear", "concrete")
"""Relaxations whose samples are plugged into densities of bits."""


class Relaxed(NamedTuple):
    """Where a chain ends, all between 0 and 1.

    ``zeta1``, ``mean1`` (k, *batch, n1) and ``zeta2`` (k, *batch, n2). ``mean1`` = E[z1 | zeta2] is
    what ``zeta1`` was drawn with: side 1 by Rao-Blackwell.
    """

    zeta1: Tensor
    zeta2: Tensor
    mean1: Tensor


def relaxation(name: str, beta: float | None) -> smoothing.Smoothing:
    """The relaxation of that name; ``beta`` None: its default.

    Raises UserError for another name or a bad ``beta``.
    """
    validate.one_of("objective.relaxation", name, RELAXATIONS)
    settings = {} if beta is None else {"beta": validate.positive("objective.beta", beta)}
    return smoothing.build({"name": name, **settings})


def check_sweeps(discrete: int, relaxed: int) -> None:
    """Raises UserError unless there is at least one sweep of each kind."""
    validate.whole("objective.discrete_sweeps", discrete)
    validate.whole("objective.relaxed_sweeps", relaxed)


def relaxed_sweeps(
    rbm: RBM, z1: Tensor, relax: smoothing.Smoothing, u2: Tensor, u1: Tensor
) -> Relaxed:
    """t relaxed sweeps from ``z1`` (k, *batch, n1).

    Noise ``u2`` (t, k, *batch, n2), ``u1`` (t, k, *batch, n1).
    """
    zeta1 = z1
    for v2, v1 in zip(u2.unbind(), u1.unbind(), strict=True):
        zeta2 = relax.sample(rbm.logits2(zeta1), v2.unsqueeze(0))
        logit = rbm.logits1(zeta2)
        zeta1 = relax.sample(logit, v1.unsqueeze(0))
    return Relaxed(zeta1, zeta2, torch.sigmoid(logit))


def advance(
    rbm: RBM, z1: Tensor, relax: smoothing.Smoothing, discrete: int, u2: Tensor, u1: Tensor
) -> tuple[Tensor, Tensor, Relaxed]:
    """``discrete`` sweeps from the bits ``z1`` (k, *batch, n1).

    Then as many relaxed ones as noise is left for. ``u2`` (s + t, k, *batch, n2) and ``u1``
    (s + t, k, *batch, n1). Returns the bits of both sides after the discrete sweeps, of which side
    1 is to be kept, and where the relaxed ones end.
    """
    z1, z2 = rbm.gibbs(z1.to(rbm.b1.dtype), u2[:discrete], u1[:discrete])
    return z1, z2, relaxed_sweeps(rbm, z1, relax, u2[discrete:], u1[discrete:])
