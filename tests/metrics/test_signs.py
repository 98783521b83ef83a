"""Signs and units of what is reported: NLL and bound are positive, the bound is above the NLL, and
both are near the exact values."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import exact
from vaebench.evaluation.evaluate import evaluate

CONFIG = {
    "data": {"name": "tiny"},
    "eval": {"bound_samples": 10, "iw_samples": 200, "split": "test", "points": None},
    "train": {"select": "last"},
    "model": {"name": "sbn"},
    "recipe": 1,
}


def measures(model, x, **ev):
    config = {**CONFIG, "eval": {**CONFIG["eval"], **ev}}
    return {m.name: m for m in evaluate(model, x, config, "0" * 16, seed=0)}


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE).repeat(30, 1)


def test_a_coin_costs_log_two_per_pixel(x):
    """With all parameters at zero, p(x) = 2^-4 for every x. Every weight is p(x), and nothing is
    random."""
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, scale=0.0).requires_grad_(False)
    got = measures(model, x)
    expected = check.VISIBLE * math.log(2)

    assert got["iw_nll"].value == pytest.approx(expected)
    assert got["bound"].value == pytest.approx(expected)
    assert got["kl"].value == pytest.approx(0.0, abs=1e-12)
    assert got["active_units"].value == 0
    assert got["iw_nll"].extra["ess"] == pytest.approx(200)
    assert got["bound"].error == pytest.approx(0.0, abs=1e-7)
    assert got["iw_nll"].error == pytest.approx(0.0, abs=1e-7)


def test_bound_and_nll_are_not_confused(x):
    """With a poor posterior the bound is far above the NLL. One of their two z is above 4.5 by
    chance once in 73,000 seeds."""
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1, scale=0.6).requires_grad_(False)
    got = measures(model, x)
    nll = -float(exact.log_evidence(model, x).mean())
    bound = -float(exact.elbo(model, x).mean())

    assert bound > nll + 0.1 > 0.1
    assert abs(got["bound"].value - bound) < 4.5 * got["bound"].error
    # Half the squared relative error of a case is the bias that is left at 200 samples.
    assert (
        abs(got["iw_nll"].value - nll)
        < 4.5 * got["iw_nll"].error + 0.5 / got["iw_nll"].extra["ess_min"]
    )
    assert max(got["bound"].error, got["iw_nll"].error) < (bound - nll) / 20


def test_kl_is_that_of_enumeration(x):
    """One sample of the KL has a standard deviation near 1, so the mean of 96,000 is off by more
    than 0.0145 only once in 150,000 seeds."""
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1, scale=0.6).requires_grad_(False)
    kl = measures(model, x, bound_samples=200)["kl"]
    expected = [float(v.mean()) for v in exact.layer_kl(model, x)]

    assert kl.value == pytest.approx(sum(expected), abs=0.0145)
    assert kl.extra["layers"] == pytest.approx(expected, abs=0.0145)
    assert kl.value > 0.1


def test_active_units_are_counted_layer_by_layer(x):
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1).requires_grad_(False)
    model.q[0].weight[2].zero_()  # the third unit of the first layer ignores the data
    units = measures(model, x, bound_samples=100)["active_units"]
    z = [h.expand(-1, len(x), -1) for h in exact.latent_states(model)]
    weight = model.log_posterior(z, x).exp().unsqueeze(-1)
    variances = [(weight * h).sum(0).var(0) for h in z]

    assert units.extra["layers"] == [int((v > units.extra["threshold"]).sum()) for v in variances]
    assert units.extra["layers"][0] == 2
    assert units.value == sum(units.extra["layers"])


def test_the_curve_ends_at_the_value_and_says_how_many_samples(x):
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1).requires_grad_(False)
    got = measures(model, x, iw_samples=37)
    iw = got["iw_nll"]

    assert list(iw.extra["curve"]) == [1, 10, 37]
    assert iw.extra["curve"][37] == iw.value
    assert "samples:37" in iw.signature
    assert (iw.unit, iw.error_kind, got["bound"].unit) == ("nats", "monte carlo", "nats")


@pytest.mark.parametrize("chunk", [10, 40, 1000])
def test_measures_do_not_depend_on_one_another_or_on_the_pass_size(x, chunk):
    """Measures share one stream of samples. Asking for one more must not change the others."""
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1).requires_grad_(False)
    with_nll = measures(model, x)
    without_nll = measures(model, x, iw_samples=None)

    assert "iw_nll" not in without_nll

    for name in ("bound", "kl", "active_units"):
        assert with_nll[name].value == pytest.approx(without_nll[name].value, rel=1e-12)

    config = {**CONFIG}
    for m in evaluate(model, x, config, "0" * 16, seed=0, chunk=chunk):
        assert m.value == pytest.approx(with_nll[m.name].value, rel=1e-9)


def test_one_sample_has_no_error(x):
    model = check.tiny({"name": "sbn", "dims": [2, 3]}, seed=1).requires_grad_(False)
    got = measures(model, x, bound_samples=1, iw_samples=1)

    assert got["bound"].error is got["iw_nll"].error is None
    assert got["iw_nll"].error_kind == "none"
    assert "active_units" not in got

    # With one sample both are the mean of -log w.
    torch.testing.assert_close(got["bound"].value, got["iw_nll"].value)
