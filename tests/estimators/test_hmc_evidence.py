"""The marginal likelihood from posterior samples alone: against known values, and where the
estimate fails."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench import models
from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.dists import hmc
from vaebench.estimators import hmc_evidence
from vaebench.estimators.hmc_evidence import Chains, fitted, log_evidence
from vaebench.estimators.importance_weighted import importance
from vaebench.metrics.hmc_nll import METRIC
from vaebench.metrics.job import Job
from vaebench.settings.records import EvalSettings


def linear_gaussian(cases):
    """A model with Gaussian posteriors, and cases (n, d)."""
    settings = {"name": "linear_gaussian", "dims": [2]}
    model = check.tiny(settings, seed=0, scale=0.5).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    return model, torch.randn(cases, check.VISIBLE, generator=generator, dtype=torch.float64)


def test_of_a_linear_gaussian_model_it_is_exact_up_to_its_noise():
    """A Gaussian posterior is fitted well: over 300 cases the mean error is below 0.02 nat."""
    model, x = linear_gaussian(cases=300)
    exact = model.log_evidence(x)

    estimate, accepted = log_evidence(model, x, 0, Chains(samples=400))

    assert float((estimate - exact).mean()) == pytest.approx(0, abs=0.02)
    assert float((estimate - exact).abs().max()) < 0.5
    assert float(accepted.mean()) == pytest.approx(0.9, abs=0.05)  # the rate that is tuned for

    by_importance = importance(model, x, 2_000, 0)
    assert abs(by_importance.nll + float(exact.mean())) < 5 * by_importance.error


def test_of_a_vae_it_agrees_with_quadrature():
    model = models.build(
        {"name": "gaussian_vae", "latents": 1, "encoder": [3]}, DataInfo(torch.full((4,), 0.4))
    )
    randomize(model.double(), 0, 0.7)
    model.requires_grad_(False)
    x = (torch.rand(100, 4, generator=torch.Generator().manual_seed(1)) < 0.5).double()

    # Quadrature over the one latent, (4001, 1, 1).
    z = torch.linspace(-12, 12, 4_001, dtype=torch.float64)
    exact = torch.logsumexp(
        model.log_joint(x, [z.view(-1, 1, 1).expand(-1, 100, 1)]), 0
    ) + math.log(float(z[1] - z[0]))
    estimate, _ = log_evidence(model, x, 0, Chains(samples=400))

    assert float((estimate - exact).mean()) == pytest.approx(0, abs=0.03)


def test_it_does_not_depend_on_the_cases_beside():
    model, x = linear_gaussian(cases=150)
    whole, _ = log_evidence(model, x, 0, Chains(samples=5))
    part, _ = log_evidence(model, x[:130], 0, Chains(samples=5))

    torch.testing.assert_close(whole[:130], part)


def test_as_a_measure_it_is_the_mean_nll_and_the_mean_acceptance(monkeypatch):
    monkeypatch.setattr(hmc_evidence, "BURN_IN", 5)
    model = models.build(
        {"name": "gaussian_vae", "latents": 1, "encoder": [3]}, DataInfo(torch.full((4,), 0.4))
    ).requires_grad_(False)
    x = (torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    job = Job(model, x, EvalSettings(hmc_samples=8), 0)

    (measure,) = METRIC.measures(job, METRIC.collect(job))
    values, accepted = log_evidence(model, x, 0, Chains(samples=8))

    assert (measure.value, measure.error, measure.samples) == (-float(values.mean()), None, 8)
    assert measure.extra["acceptance"] == pytest.approx(float(accepted.mean()))
    assert measure.value > 0


def test_step_sizes_vary_by_half_around_the_tuned_one(monkeypatch):
    """Without tuning they are 0.2 times a factor that is uniform from 0.5 to 1.5.

    The mean of the factor over 100 chains and 20 transitions is more than 4.5 of its errors from 1
    once in 150,000 seeds.
    """
    step_sizes = []
    transition = hmc.transition
    monkeypatch.setattr(
        hmc,
        "transition",
        lambda f, z, step, *rest: step_sizes.append(step) or transition(f, z, step, *rest),
    )
    monkeypatch.setattr(hmc_evidence, "BURN_IN", 0)
    model, x = linear_gaussian(cases=100)
    log_evidence(model, x, 0, Chains(samples=10, leaps=1))
    factor = torch.cat(step_sizes) / 0.2

    assert factor.shape == (2000, 1)
    assert 0.5 <= float(factor.min()) < 0.51
    assert 1.49 < float(factor.max()) <= 1.5
    # A uniform number has the variance 1/12.
    assert float(factor.mean()) == pytest.approx(1.0, abs=4.5 / math.sqrt(12 * 2000))


def test_with_few_samples_of_many_latents_it_reads_too_high():
    """The paper limits the estimate to fewer than five dimensions. With 30 latents and 50 samples
    the fit is worthless."""
    model = check.tiny(
        {"name": "linear_gaussian", "dims": [30]},
        seed=0,
        scale=0.2,
    ).requires_grad_(False)
    x = torch.randn(
        50, check.VISIBLE, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    estimate, _ = log_evidence(model, x, 0, Chains(samples=50))

    assert float((estimate - model.log_evidence(x)).mean()) > 2


def test_the_fit_is_that_of_the_samples():
    samples = torch.randn(
        5_000, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = fitted(samples)

    for i in range(3):
        torch.testing.assert_close(q.mean[i], samples[:, i].mean(0))
        torch.testing.assert_close(
            q.covariance_matrix[i], samples[:, i].T.cov(), rtol=1e-5, atol=1e-5
        )
