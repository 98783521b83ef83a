"""Annealing from the prior to the posterior, in both directions, where log p(x) is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from vaebench import models
from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.dists import hmc
from vaebench.estimators.annealed_evidence import Annealing, Target, log_mean, lower, upper
from vaebench.estimators.importance_weighted import importance
from vaebench.rng import noise


def made(model, cases=6, seed=0):
    """Cases that the model made, and the latents that they were made of."""
    draws = noise.fixed(model.joint_noise(cases), seed, "noise")
    return model.sample_joint({k: v.double() for k, v in draws.items()})


@pytest.fixture
def linear():
    return check.tiny({"name": "linear_gaussian", "dims": [2]}, seed=0, scale=0.5).requires_grad_(False)


def mean_ratio(log_weights, exact):
    """Mean over chains of the weights relative to what it should be, and its standard error, for all cases together."""
    ratio = torch.exp(log_weights - exact).flatten()
    return float(ratio.mean()) - 1, float(ratio.std()) / math.sqrt(len(ratio))


def test_the_mean_weight_is_the_evidence_in_both_directions(linear):
    """Ten temperatures, so that the weights vary; 20,000 chains for each of six cases: within 4.5 errors of 1."""
    x, z = made(linear)
    exact = linear.log_evidence(x)
    how = Annealing(temperatures=10, chains=20_000, leaps=2)
    for log_weights, wanted in ((lower(linear, x, 0, how), exact), (upper(linear, x, z, 0, how), -exact)):
        away, error = mean_ratio(log_weights, wanted)
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
    low, high = log_mean(lower(linear, x, 0, how)), -log_mean(upper(linear, x, z, 0, how))
    assert float((low - exact).abs().max()) < 0.1
    assert float((high - exact).abs().max()) < 0.1


def test_of_several_layers_it_agrees_with_importance_sampling():
    """A deep latent Gaussian model of two layers and four bits, against 50,000 importance samples."""
    config = {"name": "dlgm", "dims": [2, 2], "hidden": [3], "nonlinearity": "tanh", "covariance": "rank_one"}
    model = models.build(config, DataInfo(torch.full((4,), 0.4))).double()
    check.randomize(model, 0, 0.3)
    model.requires_grad_(False)
    x, z = made(model)
    how = Annealing(temperatures=200, chains=50)
    low, high = log_mean(lower(model, x, 0, how)), -log_mean(upper(model, x, z, 0, how))
    sampled = importance(model, x, 50_000, 0)
    assert sampled.error < 0.01
    assert -float(low.mean()) == pytest.approx(sampled.nll, abs=0.05)
    assert -float(high.mean()) == pytest.approx(sampled.nll, abs=0.05)


def test_temperatures_rise_from_0_to_1():
    betas = Annealing(temperatures=50).betas()
    assert betas[0] == 0
    assert betas[-1] == 1
    assert all(a < b for a, b in pairwise(betas))
    assert len(betas) == 51


def test_a_transition_takes_chains_of_any_lead():
    moved = hmc.transition(lambda z: -0.5 * z.square().sum(-1), torch.zeros(3, 2, 4), 0.1, 2, torch.ones(3, 2, 4),
                           torch.full((3, 2), 0.5))  # fmt: skip
    assert moved.state.shape == (3, 2, 4)
    assert moved.probability.shape == (3, 2)
