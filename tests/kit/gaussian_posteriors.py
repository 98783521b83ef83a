"""Gaussian posteriors given by their means and variances, without a model."""

from __future__ import annotations

import math

import torch

from vaebench.estimators.posteriors import Posteriors

MEANS = [-1.5, -0.2, 0.1, 0.9, 2.0]
SDS = [0.4, 0.7, 0.2, 1.1, 0.5]
"""Five overlapping posteriors over one latent, whose mixture differs from the prior."""


def drawn(mean, log_var, seed=0):
    """These posteriors, (n, units), with a sample of each."""
    mean = torch.as_tensor(mean).double()
    log_var = torch.as_tensor(log_var).double()
    normal = torch.randn(
        mean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return Posteriors(mean, log_var, mean + torch.exp(log_var / 2) * normal)


def five(copies, seed=0):
    """The five, each ``copies`` times. The mixture of all is still that of the five."""
    log_var = 2 * torch.tensor(SDS, dtype=torch.float64).log()
    return drawn(torch.tensor(MEANS).repeat(copies)[:, None], log_var.repeat(copies)[:, None], seed)


def by_quadrature(means, sds):
    """(mutual information, KL(q(z) || p)) of a mixture of one-dimensional posteriors, nats."""
    # Rectangles of width 0.001; beyond +-12 the posteriors above have no mass.
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    mean = torch.tensor(means, dtype=torch.float64)[:, None]
    sd = torch.tensor(sds, dtype=torch.float64)[:, None]
    each = torch.distributions.Normal(mean, sd).log_prob(z)
    mixture = torch.logsumexp(each, 0) - math.log(len(means))
    prior = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z)
    step = float(z[1] - z[0])
    # I = mean of KL(q(z | x) || q(z)), and KL(q(z) || p).
    mi = (each.exp() * (each - mixture)).sum(1).mean() * step
    return float(mi), float((mixture.exp() * (mixture - prior)).sum() * step)


def random(n, units, seed=0, spread=1.0):
    """Posteriors with means N(0, spread^2) and log-variances N(0, 1), (n, units)."""
    g = torch.Generator().manual_seed(seed)
    mean = spread * torch.randn(n, units, generator=g, dtype=torch.float64)
    return drawn(mean, torch.randn(n, units, generator=g, dtype=torch.float64), seed + 1)


def z_of(values, wanted):
    """z-score of the mean of these values, if their expectation is ``wanted``."""
    values = torch.tensor(values, dtype=torch.float64)
    return float((values.mean() - wanted) / (values.std() / len(values) ** 0.5))
