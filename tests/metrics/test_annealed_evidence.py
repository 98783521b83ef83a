"""Annealing from the prior to the posterior, in both directions, where log p(x) is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from vaebench import models
from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.dists import hmc
from vaebench.estimators.annealed_evidence import (
    CASES,
    Annealed,
    Annealing,
    Target,
    gaps,
    log_evidence,
    log_mean,
    lower,
    upper,
)
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.jackknife import group_sums, variance
from vaebench.evaluation.evaluate import evaluate
from vaebench.metrics.annealed_nll import METRIC
from vaebench.metrics.job import Job
from vaebench.results import flags
from vaebench.rng import noise
from vaebench.settings.records import EvalSettings


def made(model, cases=6, seed=0):
    """Cases that the model made, and the latents that they were made of."""
    draws = noise.fixed(model.joint_noise(cases), seed, "noise")
    return model.sample_joint({k: v.double() for k, v in draws.items()})


@pytest.fixture
def linear():
    return check.tiny(
        {"name": "linear_gaussian", "dims": [2]},
        seed=0,
        scale=0.5,
    ).requires_grad_(False)


def mean_ratio(log_weights, exact):
    """Mean over chains of the weights relative to what it should be, and its standard error, for
    all cases together."""
    ratio = torch.exp(log_weights - exact).flatten()
    return float(ratio.mean()) - 1, float(ratio.std()) / math.sqrt(len(ratio))


def test_the_mean_weight_is_the_evidence_in_both_directions(linear):
    """Ten temperatures, so that the weights vary; 20,000 chains for each of six cases:
    within 4.5 errors of 1."""
    x, z = made(linear)
    exact = linear.log_evidence(x)
    how = Annealing(temperatures=10, chains=20_000, leaps=2)

    for log_weights, expected in (
        (lower(linear, x, 0, how), exact),
        (upper(linear, x, z, 0, how), -exact),
    ):
        away, error = mean_ratio(log_weights, expected)
        assert 0 < error < 0.02
        assert abs(away) < 4.5 * error


def test_a_wrong_temperature_is_seen(linear, monkeypatch):
    """Transitions at half of every temperature: the weights are then of other densities."""
    x, _ = made(linear)
    right = Target.at
    monkeypatch.setattr(Target, "at", lambda self, beta: right(self, beta / 2))
    how = Annealing(temperatures=10, chains=20_000, leaps=2)
    away, error = mean_ratio(lower(linear, x, 0, how), linear.log_evidence(x))

    assert abs(away) > 20 * error


def test_the_two_directions_meet_at_the_evidence(linear):
    x, z = made(linear)
    exact = linear.log_evidence(x)
    how = Annealing(temperatures=200, chains=50)
    low = log_mean(lower(linear, x, 0, how))
    high = -log_mean(upper(linear, x, z, 0, how))

    assert float((low - exact).abs().max()) < 0.1
    assert float((high - exact).abs().max()) < 0.1


def test_of_several_layers_it_agrees_with_importance_sampling():
    """A deep latent Gaussian model of two layers and four bits, against
    50,000 importance samples."""
    config = {
        "name": "dlgm",
        "dims": [2, 2],
        "hidden": [3],
        "nonlinearity": "tanh",
        "covariance": "rank_one",
    }
    model = models.build(config, DataInfo(torch.full((4,), 0.4))).double()
    randomize(model, 0, 0.3)
    model.requires_grad_(False)
    x, z = made(model)
    how = Annealing(temperatures=200, chains=50)
    low = log_mean(lower(model, x, 0, how))
    high = -log_mean(upper(model, x, z, 0, how))
    sampled = importance(model, x, 50_000, 0)

    assert sampled.error < 0.01
    assert -float(low.mean()) == pytest.approx(sampled.nll, abs=0.05)
    assert -float(high.mean()) == pytest.approx(sampled.nll, abs=0.05)


def test_the_chains_begin_at_the_prior_of_all_layers():
    """z_1 given z_2 is no standard normal. Few temperatures, so that the start is not forgotten;
    against a grid."""
    config = {"name": "hierarchical_vae", "dims": [1, 1], "hidden": [3, 3], "depth": 1}
    model = models.build(config, DataInfo(torch.full((4,), 0.4))).double()
    randomize(model, 0, 0.7)
    model.requires_grad_(False)
    x, _ = made(model)
    line = torch.linspace(-12, 12, 401, dtype=torch.float64)
    at = [
        v.reshape(-1, 1, 1).expand(-1, len(x), 1) for v in torch.meshgrid(line, line, indexing="ij")
    ]
    exact = torch.logsumexp(model.log_joint(x, at), 0) + 2 * math.log(float(line[1] - line[0]))
    away, error = mean_ratio(
        lower(model, x, 0, Annealing(temperatures=4, chains=20_000, leaps=2)), exact
    )

    assert 0 < error < 0.02
    assert abs(away) < 4.5 * error


def test_any_number_of_cases_is_annealed_in_groups(linear):
    """No case depends on which others there are."""
    x, _ = made(linear, cases=CASES + 10)
    how = Annealing(temperatures=50, chains=20)

    whole = log_evidence(linear, x, 0, how)

    assert whole.log_weights.shape == (20, CASES + 10)
    torch.testing.assert_close(
        log_mean(whole.log_weights), linear.log_evidence(x), atol=0.5, rtol=0
    )

    part = log_evidence(linear, x[: CASES + 3], 0, how)
    torch.testing.assert_close(part.log_weights, whole.log_weights[:, : CASES + 3])
    assert float(whole.ess.min()) > 5


def test_the_gap_closes_with_more_temperatures(linear):
    apart = [gaps(linear, 0, Annealing(temperatures=t, chains=4)).mean() for t in (1, 200)]
    assert apart[0] > 0.5
    assert abs(apart[1]) < 0.05


def measured(model, x, **ev):
    settings = {
        "bound_samples": 2,
        "iw_samples": None,
        "split": "test",
        "points": None,
        "ais_chains": 20,
        **ev,
    }
    config = {
        **{
            "data": {"name": "blank"},
            "model": {"name": "linear_gaussian"},
            "eval": settings,
            "recipe": 1,
        },
        "train": {"select": "last", "batch": 5},
    }
    return {m.name: m for m in evaluate(model, x, config, "0" * 8, 0)}


def test_as_a_measure_it_has_its_error_and_its_protocol(linear):
    x, _ = made(linear, cases=30)
    exact = -float(linear.log_evidence(x).mean())

    found = measured(linear, x, ais_temperatures=100)["ais_nll"]

    assert 0 < found.error < 0.03
    assert abs(found.value - exact) < 5 * found.error
    assert (found.samples, found.points, found.flags) == (20, 30, ())
    assert "|samples:20|temperatures:100|" in found.signature
    assert set(found.extra) >= {"ess", "ess_min", "chains", "gap", "gap_error"}

    sharp = check.tiny(
        {"name": "linear_gaussian", "dims": [4]},
        seed=0,
        scale=1.5,
    ).requires_grad_(False)
    poor = measured(sharp, x, ais_temperatures=1, ais_chains=2)["ais_nll"]

    assert flags.kinds(poor.flags) == ("annealing",)
    assert "from below and from above" in poor.flags[0]
    assert "ais_nll" not in measured(linear, x, ais_chains=None)


def test_effective_chains_and_gaps_by_hand(linear):
    """Weights 1 and 1, 1 and 3, 1 and 0: 2, 16 / 10 and 1 effective chains."""
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 3.0, 0.0]], dtype=torch.float64)
    collected = Annealed(weights.log(), torch.tensor([0.1, 0.2, 0.6]))
    (m,) = METRIC.measures(Job(linear, torch.zeros(3, 4), EvalSettings(), 0), collected)

    assert m.value == pytest.approx(-math.log(2 * 0.5) / 3)
    assert m.extra["ess"] == pytest.approx((2 + 1.6 + 1) / 3)
    assert m.extra["ess_min"] == pytest.approx(1.0)
    assert m.extra["gap"] == pytest.approx(0.3)
    assert m.extra["gap_error"] == pytest.approx(math.sqrt(0.07 / 3))


def test_the_error_is_that_of_repeats(linear):
    """The same five cases ten times: the standard deviation of their values within a
    factor of 2 of the errors."""
    x, _ = made(linear, cases=5)
    weights = log_evidence(
        linear, x.repeat(10, 1), 0, Annealing(temperatures=10, chains=10)
    ).log_weights
    values = log_mean(weights).view(10, 5).mean(1)
    variances = variance(group_sums(weights), 10).view(10, 5).mean(1) / 5

    assert values.std() / 2 < variances.mean().sqrt() < 2 * values.std()


def test_temperatures_rise_from_0_to_1():
    betas = Annealing(temperatures=50).betas()
    assert betas[0] == 0
    assert betas[-1] == 1
    assert all(a < b for a, b in pairwise(betas))
    assert len(betas) == 51


def test_a_transition_takes_chains_of_any_lead():
    moved = hmc.transition(lambda z: -0.5 * z.square().sum(-1), torch.zeros(3, 2, 4), 0.1, 2,
                           torch.ones(3, 2, 4), torch.full((3, 2), 0.5))  # fmt: skip
    assert moved.state.shape == (3, 2, 4)
    assert moved.probability.shape == (3, 2)
