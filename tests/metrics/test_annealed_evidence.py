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
    """Cases that the model made, and the latents from which it made them."""
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
    """By how much the mean of the weights, relative to its exact value, differs from 1, and its
    standard error; over the chains of all cases together."""
    ratio = torch.exp(log_weights - exact).flatten()
    return float(ratio.mean()) - 1, float(ratio.std()) / math.sqrt(len(ratio))


def test_the_mean_weight_is_the_evidence_in_both_directions(linear):
    """Ten temperatures, so that the weights vary, and 20,000 chains for each of six cases. The mean
    is within 4.5 errors of 1."""
    x, z = made(linear)
    exact = linear.log_evidence(x)

    # Backwards the chains start at the latents of the cases, exact samples of the posterior.
    annealing = Annealing(temperatures=10, chains=20_000, leaps=2)

    for log_weights, expected in (
        (lower(linear, x, 0, annealing), exact),
        (upper(linear, x, z, 0, annealing), -exact),
    ):
        deviation, error = mean_ratio(log_weights, expected)
        # The weights vary, but so little that being close means something.
        assert 0 < error < 0.02
        assert abs(deviation) < 4.5 * error


def test_a_wrong_temperature_is_seen(linear, monkeypatch):
    """If transitions are at half of every temperature, the weights belong to other densities."""
    x, _ = made(linear)
    at_beta = Target.at
    monkeypatch.setattr(Target, "at", lambda self, beta: at_beta(self, beta / 2))
    annealing = Annealing(temperatures=10, chains=20_000, leaps=2)
    deviation, error = mean_ratio(lower(linear, x, 0, annealing), linear.log_evidence(x))

    assert abs(deviation) > 20 * error


def test_the_two_directions_meet_at_the_evidence(linear):
    x, z = made(linear)
    exact = linear.log_evidence(x)
    annealing = Annealing(temperatures=200, chains=50)
    from_below = log_mean(lower(linear, x, 0, annealing))
    from_above = -log_mean(upper(linear, x, z, 0, annealing))

    assert float((from_below - exact).abs().max()) < 0.1
    assert float((from_above - exact).abs().max()) < 0.1


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
    annealing = Annealing(temperatures=200, chains=50)
    from_below = log_mean(lower(model, x, 0, annealing))
    from_above = -log_mean(upper(model, x, z, 0, annealing))
    by_importance = importance(model, x, 50_000, 0)

    assert by_importance.error < 0.01  # five of them are the distance allowed below
    assert -float(from_below.mean()) == pytest.approx(by_importance.nll, abs=0.05)
    assert -float(from_above.mean()) == pytest.approx(by_importance.nll, abs=0.05)


def test_the_chains_begin_at_the_prior_of_all_layers():
    """z_1 given z_2 is not standard normal. There are few temperatures, so that the start is not
    forgotten. The exact value is a sum over a grid."""
    config = {"name": "hierarchical_vae", "dims": [1, 1], "hidden": [3, 3], "depth": 1}
    model = models.build(config, DataInfo(torch.full((4,), 0.4))).double()
    randomize(model, 0, 0.7)
    model.requires_grad_(False)
    x, _ = made(model)

    # Quadrature over both latents.
    line = torch.linspace(-12, 12, 401, dtype=torch.float64)
    grid = [
        v.reshape(-1, 1, 1).expand(-1, len(x), 1) for v in torch.meshgrid(line, line, indexing="ij")
    ]
    exact = torch.logsumexp(model.log_joint(x, grid), 0) + 2 * math.log(float(line[1] - line[0]))
    deviation, error = mean_ratio(
        lower(model, x, 0, Annealing(temperatures=4, chains=20_000, leaps=2)), exact
    )

    assert 0 < error < 0.02
    assert abs(deviation) < 4.5 * error


def test_any_number_of_cases_is_annealed_in_groups(linear):
    """A case has the same weights whichever other cases there are."""
    x, _ = made(linear, cases=CASES + 10)
    annealing = Annealing(temperatures=50, chains=20)

    whole = log_evidence(linear, x, 0, annealing)

    assert whole.log_weights.shape == (20, CASES + 10)

    # A case has an error of 0.07 on average, and of 0.11 at most. So the mean over the 50 cases of
    # the first group has one of 0.01, and over the ten of the second 0.022: 4.5 errors and more.
    difference = log_mean(whole.log_weights) - linear.log_evidence(x)
    assert abs(float(difference[:CASES].mean())) < 0.05
    assert abs(float(difference[CASES:].mean())) < 0.1
    assert float(difference.abs().max()) < 0.5

    part = log_evidence(linear, x[: CASES + 3], 0, annealing)
    torch.testing.assert_close(part.log_weights, whole.log_weights[:, : CASES + 3])
    assert float(whole.ess.min()) > 5


def test_the_gap_closes_with_more_temperatures(linear):
    mean_gaps = [gaps(linear, 0, Annealing(temperatures=t, chains=4)).mean() for t in (1, 200)]
    assert mean_gaps[0] > 0.5  # one step leaves the two directions far apart
    assert abs(mean_gaps[1]) < 0.05


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
        "data": {"name": "blank"},
        "model": {"name": "linear_gaussian"},
        "eval": settings,
        "recipe": 1,
        "train": {"select": "last", "batch": 5},
    }
    return {m.name: m for m in evaluate(model, x, config, "0" * 8, 0)}


def test_as_a_measure_it_has_its_error_and_its_protocol(linear):
    x, _ = made(linear, cases=30)
    exact = -float(linear.log_evidence(x).mean())

    measure = measured(linear, x, ais_temperatures=100)["ais_nll"]

    assert 0 < measure.error < 0.03
    assert abs(measure.value - exact) < 5 * measure.error
    assert (measure.samples, measure.points, measure.flags) == (20, 30, ())
    assert "|samples:20|temperatures:100|" in measure.signature
    assert set(measure.extra) >= {"ess", "ess_min", "chains", "gap", "gap_error"}

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
    """Two chains for each of three cases: weights 1 and 1 are 2 effective chains, 1 and 3 are 16 /
    10, and 1 and 0 are 1."""
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 3.0, 0.0]], dtype=torch.float64)
    collected = Annealed(weights.log(), torch.tensor([0.1, 0.2, 0.6]))
    (m,) = METRIC.measures(Job(linear, torch.zeros(3, 4), EvalSettings(), 0), collected)

    # Mean weights of the three cases: 1, 2 and 1/2.
    assert m.value == pytest.approx(-math.log(2 * 0.5) / 3)
    assert m.extra["ess"] == pytest.approx((2 + 1.6 + 1) / 3)
    assert m.extra["ess_min"] == pytest.approx(1.0)
    assert m.extra["gap"] == pytest.approx(0.3)
    # Squared distances from 0.3 are 0.04, 0.01 and 0.09: a variance of 0.07.
    assert m.extra["gap_error"] == pytest.approx(math.sqrt(0.07 / 3))


def test_the_error_is_that_of_repeats(linear):
    """The same five cases ten times. The standard deviation of the ten values is within a factor of
    2 of the errors."""
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
