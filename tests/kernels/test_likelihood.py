"""The likelihood of Bernoulli units and sweeps over bits by kernels, against the plain
code and by enumeration."""

from __future__ import annotations

import pytest
import torch

from vaebench import kernels
from vaebench.dists import bernoulli
from vaebench.dists.boltzmann_exact import states
from vaebench.objectives.bit_gibbs import sweep_bits

pytest.importorskip("numba")

from vaebench.kernels import likelihood

LIMIT = 5.0
"""Largest |z| of one comparison; exceeded by chance once in 1.7 million."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("units", [1, 16, 37, 784, 2000])
def test_log_probabilities_are_the_plain_ones(units):
    """Logits from 0.01 to 1000 in size, far beyond where a float's exponential ends. Rows are whole
    vectors of 16 or are not."""
    logits = torch.randn(9, units, generator=generator()) * torch.logspace(-2, 3, 9).unsqueeze(1)
    x = (torch.rand(9, units, generator=generator(1)) < 0.4).float()
    exact = bernoulli.log_prob(x.double(), logits.double())
    by_kernel = likelihood.log_prob(x, logits)

    torch.testing.assert_close(by_kernel.double(), exact, rtol=1e-6, atol=1e-5)


def energy(z):
    """log p of five bits with couplings, up to a constant."""
    weights = torch.randn(5, 5, generator=generator(2))
    return (z * (z @ weights)).sum(-1) + z @ torch.randn(5, generator=generator(3))


def test_sweeps_over_bits_are_the_plain_ones():
    z = (torch.rand(200, 5, generator=generator()) < 0.5).float()
    u = torch.rand(4, 5, 200, generator=generator(1))
    u[0, 0, 0] = 0.0  # noise has no zeros, but both ways must treat one alike
    before = z.clone()
    with kernels.use(True):
        by_kernel = sweep_bits(energy, z, u)
    with kernels.use(False):
        plain = sweep_bits(energy, z, u)

    assert torch.equal(by_kernel, plain)
    assert torch.equal(z, before)


def test_sweeps_over_bits_leave_their_law_as_it_is():
    """Three sweeps from exact samples leave the frequencies of all 32 states as they are."""
    k = 20_000
    every = states(5, torch.zeros(()))
    p = torch.softmax(energy(every).double(), 0)
    z = every[torch.multinomial(p, k, replacement=True, generator=generator())]
    with kernels.use(True):
        z = sweep_bits(energy, z, torch.rand(3, 5, k, generator=generator(1)))
    # ``states`` counts in binary, the first bit being the least: sum z_i 2^i is a state's place.
    share = torch.bincount((z @ 2.0 ** torch.arange(5)).long(), minlength=32) / k

    assert ((share - p).abs() < LIMIT * (p * (1 - p) / k).sqrt()).all()
