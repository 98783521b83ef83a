"""Mixtures of Bernoullis: against the sum over components in plain NumPy, all examples enumerated,
samples that fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.parameters import drawn
from kit.sampling import assert_samples_have_their_probabilities

from tests.kit.gradients import assert_finite_differences
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.models.bernoulli_mixture import BernoulliMixture


def built(d=6, components=4, seed=0):
    return drawn(BernoulliMixture(DataInfo(torch.full((d,), 0.3)), components).double(), 1.5, seed)


def test_it_is_its_definition_and_sums_to_one():
    model = built()
    means = 1 / (1 + np.exp(-model.p["logits"].detach().numpy()))
    weights = np.exp(model.p["log_weights"].detach().numpy())
    weights = weights / weights.sum()
    all_x = exact.states(6)
    by_definition = [
        sum(w * np.prod(np.where(x, m, 1 - m)) for w, m in zip(weights, means, strict=True))
        for x in all_x.numpy()
    ]
    probabilities = model.score(all_x).exp()

    np.testing.assert_allclose(probabilities.numpy(), by_definition, rtol=1e-12)
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-12)


def test_gradients_are_slopes():
    x = exact.states(6).double()[::7]
    assert_finite_differences(built(), lambda m: m.log_evidence(x).sum())


def test_samples_have_their_probabilities():
    assert_samples_have_their_probabilities(built(4, seed=1))


def test_bad_settings():
    with pytest.raises(UserError, match=r"model.components=0: must be a whole number from 1"):
        built(components=0)
