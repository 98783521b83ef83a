"""Hamiltonian Monte Carlo leaves what it samples as it is, and its step becomes the
one that is asked for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from vaebench.dists import hmc

CHAINS = 20_000
N = 2


@pytest.fixture
def target():
    """A Gaussian of unequal variances and a correlation."""
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    return distributions.MultivariateNormal(
        torch.tensor([0.5, -1.0], dtype=torch.float64), covariance
    )


def draws(seed):
    generator = torch.Generator().manual_seed(1000 + seed)  # not the stream of the first states
    momentum = torch.randn(CHAINS, N, generator=generator, dtype=torch.float64)
    return momentum, torch.rand(CHAINS, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("step", "acceptance"), [(0.2, 0.997), (0.55, 0.615), (0.62, 0.267)])
def test_the_density_is_invariant(target, step, acceptance):
    """20,000 chains begin in the target; after 10 transitions means and products
    are within 4.5 errors.

    The integrator is stable below 2 sqrt(0.1) = 0.632, by the smallest variance. Close to that
    three quarters are refused: without that the states would have another variance, see below.
    Far above it all would be refused, and chains that stay where they began prove nothing.
    """
    torch.manual_seed(0)
    z = target.sample((CHAINS,))
    acceptances = []

    for t in range(10):
        z, probability = hmc.transition(target.log_prob, z, step, 5, *draws(t))
        acceptances.append(float(probability.mean()))

    # Chains move, and of the longer steps many are refused: every transition's mean over 20,000
    # chains has an error below 0.004.
    assert acceptances == pytest.approx([acceptance] * 10, abs=0.015)

    # Means and second moments, each by its own standard error.
    deviations = z - target.mean
    products = deviations.unsqueeze(-1) * deviations.unsqueeze(-2)

    assert (deviations.mean(0) / (deviations.std(0) / math.sqrt(CHAINS))).abs().max() < 4.5

    errors = products.std(0) / math.sqrt(CHAINS)
    assert ((products.mean(0) - target.covariance_matrix) / errors).abs().max() < 4.5


def test_without_refusals_it_is_not(target):
    torch.manual_seed(0)
    z = target.sample((CHAINS,))
    for t in range(10):
        momentum, _ = draws(t)

        # Noise of 0 accepts every proposal.
        z, _ = hmc.transition(
            target.log_prob, z, 0.62, 5, momentum, torch.zeros(CHAINS, dtype=torch.float64)
        )

    deviations = z - target.mean
    products = deviations.unsqueeze(-1) * deviations.unsqueeze(-2)
    errors = products.std(0) / math.sqrt(CHAINS)

    assert ((products.mean(0) - target.covariance_matrix) / errors).abs().max() > 20


def test_chains_get_there_from_elsewhere(target):
    z = torch.full((CHAINS, N), 4.0, dtype=torch.float64)
    for t in range(60):
        z, _ = hmc.transition(target.log_prob, z, 0.4, 5, *draws(t))

    # Only the means are compared. They begin 3.5 and 7 standard deviations away.
    deviations = z - target.mean
    assert (deviations.mean(0) / (deviations.std(0) / math.sqrt(CHAINS))).abs().max() < 4.5


@pytest.mark.parametrize("acceptance", [0.6, 0.9])
def test_the_step_is_tuned(target, acceptance):
    torch.manual_seed(0)
    z = target.sample((CHAINS,))
    step = torch.tensor(0.3, dtype=torch.float64)
    acceptances = []

    for t in range(200):
        z, probability = hmc.transition(target.log_prob, z, step, 5, *draws(t))
        step = hmc.tuned(step, probability.mean(), acceptance, 0.1)
        acceptances.append(float(probability.mean()))

    # The mean acceptance over the last quarter of the transitions.
    assert sum(acceptances[-50:]) / 50 == pytest.approx(acceptance, abs=0.01)


def test_the_leapfrog_is_that_of_the_textbook():
    """One chain by hand: half a step of the momentum, one of the position, half
    a step of the momentum."""
    z = torch.tensor([[0.7]], dtype=torch.float64)
    p = torch.tensor([[-0.4]], dtype=torch.float64)
    density = lambda v: -0.25 * (v**4).sum(-1)  # noqa: E731

    # Three steps of 0.1 by hand, of U = x^4 / 4 with the slope x^3.
    position = 0.7
    momentum = -0.4

    for _ in range(3):
        momentum -= 0.05 * position**3
        position += 0.1 * momentum
        momentum -= 0.05 * position**3

    energy = lambda q, m: 0.25 * q**4 + 0.5 * m**2  # noqa: E731
    moved = hmc.transition(density, z, 0.1, 3, p, torch.zeros(1, dtype=torch.float64))

    assert float(moved.state) == pytest.approx(position, rel=1e-12)

    wanted = min(1.0, math.exp(energy(0.7, -0.4) - energy(position, momentum)))
    assert float(moved.probability) == pytest.approx(wanted, rel=1e-9)


def test_a_trajectory_that_leaves_all_bounds_is_refused():
    z = torch.tensor([[1.0]])
    moved = hmc.transition(
        lambda v: -(v**4).sum(-1), z, 1e20, 3, torch.ones(1, 1), torch.full((1,), 1e-30)
    )

    assert torch.equal(moved.state, z)
    assert float(moved.probability) == 0
