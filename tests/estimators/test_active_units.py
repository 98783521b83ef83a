"""Active units: Var_x(E_Q[z | x]) against enumeration, without bias for units that ignore the
data."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import active_units, exact
from vaebench.estimators.active_units import THRESHOLD, ActiveUnits, active_means, variances
from vaebench.estimators.weights import stream

SAMPLES = 4
REPEATS = 400


@pytest.fixture(scope="module")
def model():
    """Three units next to the data, the last of which ignores them; two above."""
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1).requires_grad_(False)
    model.q[0].weight[2].zero_()
    return model


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE)


def estimate(model, x, samples, seed):
    units = ActiveUnits(len(x), samples, model.sizes[1:])
    for part in stream(model, x, samples, seed):
        units.add(part)

    return units


def exact_variances(model, x):
    # Every joint state of the latents, layer by layer, (states, n, units).
    z = [h.expand(-1, len(x), -1) for h in exact.latent_states(model)]
    weight = model.log_posterior(z, x).exp().unsqueeze(-1)
    return [(weight * h).sum(0).var(0) for h in z]  # n - 1 degrees of freedom, as stated


def test_unbiased_with_few_samples(model, x):
    """Mean of 400 repetitions with four samples each.

    There is a z for each of five units: one is above 4.5 by chance once in 29,000 seeds.
    """
    estimates = torch.stack(
        [torch.cat(estimate(model, x, SAMPLES, seed).variances()) for seed in range(REPEATS)]
    )
    expected = torch.cat(exact_variances(model, x))
    error = estimates.std(0) / REPEATS**0.5

    assert ((estimates.mean(0) - expected) / error).abs().max() < 4.5
    assert float(expected[2]) == pytest.approx(0.0, abs=1e-15)

    # The test can see the bias it is about: the variance of plain means over samples would be off
    # by Var[z | x] / k, which is more than 20 errors.
    q = torch.sigmoid(model.q[0].bias[2])
    assert q * (1 - q) / SAMPLES > 20 * error[2]


def test_counting_active_units(model, x):
    expected = [int((v > THRESHOLD).sum()) for v in exact_variances(model, x)]
    assert expected[0] == 2
    assert estimate(model, x, 4000, 0).result() == expected


def test_odd_numbers_of_samples_and_passes_of_any_size(model, x):
    """11 samples are used as two halves of 5, wherever the passes are cut."""
    z = torch.cat([part.z[0] for part in stream(model, x, 11, 0)])
    first_half = z[:5].mean(0)
    second_half = z[5:10].mean(0)
    expected = ((first_half - first_half.mean(0)) * (second_half - second_half.mean(0))).sum(0) / (
        len(x) - 1
    )

    torch.testing.assert_close(estimate(model, x, 11, 0).variances()[0], expected)

    units = ActiveUnits(len(x), 11, model.sizes[1:])
    for part in stream(model, x, 30, 0, chunk=30):
        units.add(part)

    torch.testing.assert_close(units.variances()[0], expected)


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        ActiveUnits(10, 1, [3])


def test_active_units_by_hand(monkeypatch):
    """Variance of 0 and 1: 1/2 with n - 1 degrees of freedom, 1/4 with n. At the
    threshold a unit is active."""
    mean = torch.tensor([[0.0, 0.0, 5.0], [1.0, 0.99, 5.0]])
    assert variances(mean).tolist() == pytest.approx([0.5, 0.5 * 0.99**2, 0.0])

    monkeypatch.setattr(active_units, "THRESHOLD", 0.5)
    assert active_means(mean) == 1

    monkeypatch.setattr(active_units, "THRESHOLD", 0.25)
    assert active_means(mean) == 2


def test_the_threshold_is_that_of_the_paper():
    # The values -a and a have the variance 2 a^2, with n - 1 degrees of freedom.
    a = math.sqrt(0.01 / 2)

    assert (
        active_means(torch.tensor([[1.001 * a, 0.999 * a, 0.0], [-1.001 * a, -0.999 * a, 0.0]]))
        == 1
    )
