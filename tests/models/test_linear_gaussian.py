"""The linear-Gaussian model's closed forms against torch's distributions and against each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from vaebench.check import checks as check
from vaebench.estimators.weights import stream

D = check.VISIBLE


@pytest.fixture
def model():
    return check.tiny(
        {"name": "linear_gaussian", "dims": [2]},
        seed=0,
        scale=0.5,
    ).requires_grad_(False)


@pytest.fixture
def x():
    return torch.randn(3, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_evidence_is_that_of_the_marginal(model, x):
    w = model.p["weight"]
    cov = w @ w.T + torch.exp(2 * model.p["log_sd"]) * torch.eye(D)
    log_p = distributions.MultivariateNormal(model.p["bias"], cov).log_prob(x)

    torch.testing.assert_close(model.log_evidence(x), log_p)


def test_elbo_and_kl_are_those_of_torch(model, x):
    posterior = distributions.Normal(model._posterior(x)[0], model.q["log_sd"].exp())
    kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(-1)
    # E_Q log N(x; W z + b, s^2) by Gauss-Hermite quadrature would do too; a sum of 200,000 draws
    # needs no formula.
    e = torch.randn(200_000, 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data = model.log_joint_terms(x, [posterior.loc + posterior.scale * e])[0]
    z = (model.elbo(x) + kl - data.mean(0)) / (data.std(0) / math.sqrt(len(e)))

    # Three normal z: exceeded by chance once in 49,000 seeds.
    assert z.abs().max() < 4.5


def test_elbo_is_below_the_evidence_and_touches_it_at_the_exact_posterior(x):
    """With one latent unit the exact posterior is in the family; then every
    weight is p(x) itself."""
    model = check.tiny({"name": "linear_gaussian", "dims": [1]}, seed=1).requires_grad_(False)
    assert (model.elbo(x) < model.log_evidence(x) - 1e-3).all()

    # The exact posterior of one latent: precision 1 + w'w / s^2, mean a (x - b).
    w = model.p["weight"]
    s2 = torch.exp(2 * model.p["log_sd"])
    precision = 1 + (w * w).sum() / s2
    a = w.T / s2 / precision
    model.q["weight"].copy_(a)
    model.q["bias"].copy_(a @ (model.mean - model.p["bias"]))
    model.q["log_sd"].copy_(-0.5 * precision.log())

    torch.testing.assert_close(model.elbo(x), model.log_evidence(x))

    for part in stream(model, x, 20, 0):
        torch.testing.assert_close(part.log_w, model.log_evidence(x).expand(part.log_w.shape))


def test_ancestral_samples_have_the_marginal_moments(model):
    """Means and variances of 4 visibles from 100,000 samples: eight z, above 4.5 by
    chance once in 18,000 seeds."""
    n = 100_000
    generator = torch.Generator().manual_seed(0)
    draws = {
        k: torch.randn(shape, generator=generator, dtype=torch.float64)
        for k, (_, shape) in model.joint_noise(n).items()
    }
    x, _ = model.sample_joint(draws)

    # Each visible is normal with mean b and variance |w|^2 + s^2.
    variance = model.p["weight"].square().sum(1) + torch.exp(2 * model.p["log_sd"])
    z = (x.mean(0) - model.p["bias"]) / (variance / n).sqrt()

    assert z.abs().max() < 4.5

    # The variance of a normal sample has the relative error sqrt(2 / n).
    z = (x.var(0) / variance - 1) / math.sqrt(2 / n)
    assert z.abs().max() < 4.5


def test_programs_give_the_moments_of_the_posterior_and_the_mean_of_the_data(model, x):
    programs = model.programs(x)
    mean, log_var = programs["encoder"].call(x)
    moments = distributions.Normal(mean, torch.exp(0.5 * log_var))
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    torch.testing.assert_close(moments.log_prob(z).sum(-1), model.log_posterior([z[None]], x)[0])

    data = distributions.Normal(programs["decoder"].call(z), torch.exp(model.p["log_sd"]))
    torch.testing.assert_close(data.log_prob(x).sum(-1), model.log_joint_terms(x, [z[None]])[0][0])
