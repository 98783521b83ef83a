"""Restricted Boltzmann machines with random parameters, their sweeps and their moments."""

from __future__ import annotations

import torch

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM


def normal_rbm(*batch, n1, n2, scale=1.0, seed=0, dtype=torch.float64, fan_in=False):
    """RBMs (*batch,) of n1 + n2 units, with all biases and couplings N(0, scale^2).

    ``fan_in``: divide the couplings by sqrt(n1), so that the logits of large RBMs stay moderate.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n1,), (n2,), (n1, n2))
    b1, b2, w = (
        scale * torch.randn(*batch, *shape, generator=generator, dtype=dtype) for shape in shapes
    )
    return RBM(b1, b2, w / n1**0.5 if fan_in else w)


def transition(m):
    """T[z, z'] of a block sweep between joint states, side 2 first, differentiable."""
    z1, z2, _ = boltzmann_exact.log_probs(m)
    # Side 2 of z' given side 1 of z.
    q2 = torch.where(z2.bool(), m.mean2(z1)[:, None], 1 - m.mean2(z1)[:, None]).prod(-1)  # (z, z')
    # z' alone: its side 1 given its side 2.
    q1 = torch.where(z1.bool(), m.mean1(z2), 1 - m.mean1(z2)).prod(-1)
    return q2 * q1


def assert_moments(m, z1, z2, limit):
    """Means and pair products of samples (k, n) of both sides are those of the machine.

    ``limit``: how many standard errors they may be off.
    """
    exact = boltzmann_exact.moments(RBM(*(p.double() for p in m)))
    for samples, mean in (
        (z1, exact.mean1),
        (z2, exact.mean2),
        (z1.unsqueeze(-1) * z2.unsqueeze(-2), exact.mean12),
    ):
        # All are means of k bits: the standard error is that of a Bernoulli's mean.
        sd = (mean * (1 - mean) / len(z1)).sqrt()
        assert ((samples.double().mean(0) - mean).abs() < limit * sd).all()


LIMIT = 4.75
"""Largest |z| of one comparison; exceeded by chance once in 490,000."""


def two_modes(n=6, coupling=3.0, tilt=0.0):
    """A machine of n + n units with two modes, all zeros and all ones.

    Their log-weights are 0 and 2 n ``tilt``, and between them is a barrier of many nats.
    """
    bias = torch.full((n,), -coupling * n / 2 + tilt, dtype=torch.float64)
    return RBM(bias, bias.clone(), torch.full((n, n), coupling, dtype=torch.float64))
