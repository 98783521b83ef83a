"""vaebench.stats: measures, means and verdicts against numbers worked by hand."""

from __future__ import annotations

import json
import math

import pytest

from vaebench.stats import Measure, combine, mean_error, verdict


def test_mean_error_of_three_seeds():
    mean, sd, se, n = mean_error([1.0, 2.0, 6.0])
    assert (mean, n) == (3.0, 3)
    assert sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert se == pytest.approx(math.sqrt(7 / 3))


def test_one_seed_has_no_spread():
    assert mean_error([113.4]) == (113.4, None, None, 1)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [-math.inf, 2.0]])
def test_mean_refuses_what_has_no_mean(bad):
    with pytest.raises(ValueError, match=r"no values|finite"):
        mean_error(bad)


def test_combine_skips_unknown_errors():
    assert combine(3.0, None, 4.0) == pytest.approx(5.0)
    assert combine(None, 2.0) == 2.0
    assert combine(None, None) is None
    assert combine() is None
    with pytest.raises(ValueError, match="finite"):
        combine(1.0, math.nan)


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        (113.1, "yes"),
        (113.6, "yes"),  # the edge itself
        (112.6, "yes"),
        (113.601, "no"),
        (112.599, "better"),
    ],
)
def test_verdict_at_the_edges(mean, expected):
    assert verdict(113.1, [mean - 0.2, mean, mean + 0.2], 0.5, "", True) == expected
    assert verdict(113.1, [mean - 0.2, mean, mean + 0.2], 0.5, "tuned", True) == f"{expected}, tuned"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.25, 0.75], "yes"),  # d = 0.5, se = 0.25: both edges at once
        ([-0.26, 0.26], "unclear"),  # within the margin, but 2 se = 0.52
        ([-2.0, 2.0], "unclear"),  # the mean is on the spot by chance
        ([0.2, 1.4], "unclear"),  # d = 0.8, 2 se = 1.2
        ([-0.2, -1.4], "unclear"),
        ([0.0, 2.0, 1.0, 1.0], "no"),  # d = 1, 2 se = 0.82
        ([-0.0, -2.0, -1.0, -1.0], "better"),
        ([1.0, 3.0], "unclear"),  # d = 2 se exactly: not beyond it
        ([1.0, 2.98], "no"),
        ([7.0, 7.0], "no"),
        ([0.1, 0.1], "yes"),
    ],
)
def test_verdict_says_no_more_than_the_seeds_allow(values, expected):
    assert verdict(0.0, values, 0.5, "", True) == expected
    assert verdict(0.0, values, 0.5, "tuned", True) == f"{expected}, tuned"


def test_verdict_is_withheld():
    assert verdict(None, [1.0, 2.0], 0.5, "tuned", True) == "-"
    assert verdict(1.0, [], 0.5, "", True) == "-"
    assert verdict(1.0, [1.0, 1.0], 0.5, "quick", False) == "-"
    assert verdict(1.0, [1.0], 0.5, "", True) == "n=1"
    assert verdict(1.0, [99.0], 0.5, "short", True) == "n=1, short"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_verdict_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        verdict(1.0, [1.0, bad], 0.5, "", True)
    with pytest.raises(ValueError, match="finite"):
        verdict(1.0, [bad], 0.5, "", False)
    with pytest.raises(ValueError, match="finite"):
        verdict(bad, [1.0, 1.0], 0.5, "", True)


def test_measure_goes_through_json():
    m = Measure("iw_nll", 110.25, "nats", 0.03, "monte carlo", 10000, 1000, "iw_nll|data:x", {"1": 113.0, "10": 111.5})
    assert Measure.from_dict(json.loads(json.dumps(m.to_dict()))) == m


def test_measure_from_null_is_nan():
    m = Measure.from_dict({"name": "bound", "value": None, "unit": "nats", "unheard_of": 1})
    assert math.isnan(m.value)
    assert (m.error, m.error_kind, m.points, m.extra) == (None, "none", None, {})


@pytest.mark.parametrize(
    "bad", [{}, {"name": "bound", "unit": "nats"}, {"name": "a", "value": [], "unit": "nats"}, 3, None]
)
def test_measure_refuses_other_things(bad):
    with pytest.raises(ValueError, match="not a measure"):
        Measure.from_dict(bad)


def test_measure_refuses_unknown_errors():
    with pytest.raises(ValueError, match="monte carlo, seeds, log Z, none"):
        Measure("bound", 1.0, "nats", 0.1, "guess")
