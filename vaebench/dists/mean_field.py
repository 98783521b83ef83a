"""A mean-field lower bound of log p(zeta) under a Boltzmann prior.

Vahdat, Andriyash & Macready 2018, DVAE#. With overlapping smoothings p(zeta) = sum_z p(z) prod_i
r(zeta_i | z_i). Given zeta, each unit has the evidence Lambda_i = log r(zeta_i | 1) - log r(zeta_i
| 0), so p(zeta) = prod_i r(zeta_i | 0) Zhat(zeta) / Z. Here Zhat is the partition function of the
RBM whose biases are raised by Lambda. If zeta determines most bits, a factorial distribution
over z is nearly exact, and the bound of Zhat is tight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.dists.rbm import RBM

ITERATIONS = 5
"""The number of iterations that the authors took."""


def log_partition(
    rbm: RBM, evidence1: Tensor, evidence2: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """Return a lower bound of log Zhat, (k, batch), nats.

    The evidence, (k, batch, n) for each side, is added to the biases of one RBM. For the means
    m of any factorial distribution over the bits, log Zhat >= -E(m) + Lambda.m + H(m). The means
    start at 1/2, and ``iterations`` coordinate ascents follow, side 2 first.

    The gradient to the RBM and to the evidence is that of the bound with m fixed. It is the
    bound's own derivative if m is at its optimum. Raises ValueError if ``iterations`` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: needs at least 1")

    fixed = rbm.detach()
    e1 = evidence1.detach()
    e2 = evidence2.detach()

    # The means are found on detached copies; only the bound at the end passes gradients.
    m1 = torch.full_like(e1, 0.5)
    for _ in range(iterations):
        logit2 = fixed.logits2(m1) + e2
        m2 = torch.sigmoid(logit2)
        logit1 = fixed.logits1(m2) + e1
        m1 = torch.sigmoid(logit1)

    # H(m) = -E[log q], and log q of bits is linear in them. Each logit belongs to the final mean of
    # its side.
    entropy = -bernoulli.log_prob(m1, logit1) - bernoulli.log_prob(m2, logit2)

    # -E(m) + Lambda.m + H(m).
    return (
        rbm.negative_energy(m1, m2) + (evidence1 * m1).sum(-1) + (evidence2 * m2).sum(-1) + entropy
    )
