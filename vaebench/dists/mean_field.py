"""A lower bound of log p(zeta) under a Boltzmann prior by mean field.

Vahdat, Andriyash & Macready 2018, DVAE#. With overlapping smoothings p(zeta) = sum_z p(z) prod_i
r(zeta_i | z_i). Given zeta, each unit has evidence Lambda_i = log r(zeta_i | 1) - log r(zeta_i |
0), so p(zeta) = prod_i r(zeta_i | 0) Zhat(zeta) / Z, where Zhat is the partition function of the
machine whose biases are raised by Lambda. Where zeta pins most bits, a factorial distribution over
z is nearly exact, and Zhat nearly known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.dists.rbm import RBM

ITERATIONS = 5
"""As many as the authors took."""


def log_partition(
    rbm: RBM, evidence1: Tensor, evidence2: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """A lower bound of log Zhat, (k, batch), nats.

    For evidence (k, batch, n) added to the biases of one machine. log Zhat >= -E(m) + Lambda.m +
    H(m) for the means m of any factorial distribution over the bits. From m = 1/2 come
    ``iterations`` coordinate ascents, side 2 first. The gradient, to the machine and the evidence,
    is that of the bound with m fixed: the bound's own derivative where m is at its optimum. Raises
    ValueError without an iteration.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: needs at least 1")
    fixed = rbm.detach()
    e1 = evidence1.detach()
    e2 = evidence2.detach()
    m1 = torch.full_like(e1, 0.5)
    for _ in range(iterations):
        logit2 = fixed.logits2(m1) + e2
        m2 = torch.sigmoid(logit2)
        logit1 = fixed.logits1(m2) + e1
        m1 = torch.sigmoid(logit1)
    entropy = -bernoulli.log_prob(m1, logit1) - bernoulli.log_prob(m2, logit2)
    return (
        rbm.negative_energy(m1, m2) + (evidence1 * m1).sum(-1) + (evidence2 * m2).sum(-1) + entropy
    )
