"""Dirichlet distributions against torch's own."""

from __future__ import annotations

import torch
from torch.distributions import Dirichlet, kl_divergence

from vaebench.dists import dirichlet

PARAMETERS = torch.tensor(
    [[0.3, 2.0, 5.5], [1.0, 1.0, 1.0], [40.0, 0.02, 7.0]], dtype=torch.float64
)


def test_kl_is_that_of_torch():
    for prior in (0.1, 1.0, 3.0):
        wanted = kl_divergence(Dirichlet(PARAMETERS), Dirichlet(torch.full((3,), prior).double()))
        torch.testing.assert_close(dirichlet.kl(PARAMETERS, prior), wanted, rtol=1e-7, atol=1e-7)
    assert abs(float(dirichlet.kl(torch.full((4,), 0.7).double(), 0.7))) < 1e-12


def test_expected_log_is_the_slope_of_the_log_normaliser():
    p = PARAMETERS.clone().requires_grad_()
    log_normaliser = torch.lgamma(p).sum(-1) - torch.lgamma(p.sum(-1))
    (slope,) = torch.autograd.grad(log_normaliser.sum(), p)
    torch.testing.assert_close(dirichlet.expected_log(PARAMETERS), slope)
