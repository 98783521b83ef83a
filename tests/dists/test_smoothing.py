"""The registry of smoothing transformations, and the curves of their inverse
distribution functions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from vaebench.dists import smoothing
from vaebench.dists.smoothing.curves import TEMPERATURES, inverse_cdf_curves
from vaebench.errors import UserError


def test_defaults():
    betas = {n: getattr(smoothing.build({"name": n}), "beta", None) for n in smoothing.SMOOTHINGS}
    assert betas == {
        "exponential": 8,
        "logistic": None,
        "power": 30,
        "uniform_exponential": 30,
        "gaussian": 30,
        "spike_exponential": 5,
        "concrete": 10,
        "piecewise_linear": 4,
    }
    assert smoothing.build({"name": "logistic"}).scale == 0.1
    assert smoothing.build({"name": "uniform_exponential"}).eps == 0.05
    assert smoothing.build({"name": "piecewise_linear"}).stop_slope is False


def test_settings_reach_the_smoothing():
    s = smoothing.build({"name": "uniform_exponential", "beta": 16, "eps": 0.1})
    assert (s.beta, s.eps) == (16, 0.1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "exponentail"}, "smoothing 'exponentail': did you mean 'exponential'?"),
        ({}, "smoothing '': allowed: concrete, "),
        ({"name": ["power"]}, "allowed: concrete, "),
        (
            {"name": "power", "bete": 3.0},
            r"smoothing.bete: power has no such setting; did you mean 'beta'\?",
        ),
        (
            {"name": "logistic", "beta": 3.0},
            "smoothing.beta: logistic has no such setting; allowed: scale",
        ),
        ({"name": "power", "uniforms": 3}, "smoothing.uniforms: power has no such setting"),
        ({"name": "uniform_exponential", "eps": 1.0}, "smoothing.eps=1.0: must be below 1"),
        (
            {"name": "uniform_exponential", "eps": 0.0},
            "smoothing.eps=0.0: must be a positive number",
        ),
        ({"name": "logistic", "scale": 0}, "smoothing.scale=0: must be a positive number"),
        (
            {"name": "piecewise_linear", "stop_slope": 1},
            "smoothing.stop_slope=1: must be true or false",
        ),
    ],
)
def test_bad_settings_are_named(config, message):
    with pytest.raises(UserError, match=message):
        smoothing.build(config)


@pytest.mark.parametrize("name", [n for n in smoothing.SMOOTHINGS if n != "logistic"])
@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf, "8", True, None])
def test_beta_must_be_positive(name, beta):
    with pytest.raises(UserError, match=r"smoothing.beta=.*: must be a positive number"):
        smoothing.build({"name": name, "beta": beta})


def test_curves_have_a_row_for_each_point():
    rows = inverse_cdf_curves(points=9)
    assert len(rows) == 9 * sum(len(values) for _, values in TEMPERATURES.values())
    assert all(len(values) == 3 for _, values in TEMPERATURES.values())
    assert {"exponential", "logistic"} <= {r["smoothing"] for r in rows}
    assert [r["q"] for r in rows[:9]] == pytest.approx([i / 10 for i in range(1, 10)])


def test_curves_rise_and_pass_through_the_quantile():
    """Every curve is nondecreasing in q, and steeper at the sharper temperature.

    For the mixtures F(zeta) = rho all along it.
    """
    rows = inverse_cdf_curves(rho=0.25, points=99)
    for name, (setting, values) in TEMPERATURES.items():
        rises = []
        for value in values:
            curve = [r for r in rows if (r["smoothing"], r["temperature"]) == (name, value)]
            zeta = [r["zeta"] for r in curve]

            assert all(a <= b for a, b in pairwise(zeta))

            # The rise between q of 0.7 and 0.8 as the measure of steepness.
            by_q = {round(r["q"], 2): r["zeta"] for r in curve}
            rises.append(by_q[0.8] - by_q[0.7])
            if name in ("exponential", "logistic"):
                s = smoothing.build({"name": name, setting: value})
                for r in curve:
                    x = torch.tensor(r["zeta"], dtype=torch.float64)
                    assert float((1 - r["q"]) * s.cdf0(x) + r["q"] * s.cdf1(x)) == pytest.approx(
                        0.25, abs=1e-12
                    )

        assert rises[-1] > rises[0]


@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"rho": 1.0}, {"points": 0}])
def test_curves_refuse_what_has_no_meaning(bad):
    with pytest.raises(ValueError, match="must"):
        inverse_cdf_curves(**bad)
