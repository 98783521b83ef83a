"""vaebench.results.stats: measures, means and verdicts against numbers worked by hand."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
from kit.repository import REFERENCE
from scipy.stats import ttest_1samp, ttest_ind

from vaebench.config.catalogue import load_table
from vaebench.report.summary import summarize
from vaebench.results.long_frame import read_csv
from vaebench.results.stats import (
    Measure,
    combine,
    half_width,
    mean_error,
    published_error,
    verdict,
)


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
    assert (
        verdict(113.1, [mean - 0.2, mean, mean + 0.2], 0.5, "tuned", True) == f"{expected}, tuned"
    )


T1 = 12.7062
T2 = 4.30265
"""From the tables of Student's t: two-sided 95 %, one and two degrees of freedom."""


def two(mean, width):
    """Return two seeds with this mean, whose interval has this half-width.

    Their standard error is half their distance.
    """
    return [mean - width / T1, mean + width / T1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (two(0.5, 0.499), "yes"),  # both nearly at their edges
        (two(0.0, 0.501), "unclear"),  # within the margin, but the interval is wider
        ([-2.0, 2.0], "unclear"),  # the mean is on the spot by chance
        (two(0.8, 0.801), "unclear"),
        (two(-0.8, 0.801), "unclear"),
        (two(0.8, 0.799), "no"),
        (two(-0.8, 0.799), "better"),
        ([1.0, 2.98], "unclear"),  # twice the standard error, but of two seeds
        ([0.0, 1.0, 2.0], "unclear"),  # se = 0.577, times 4.3 is 2.48
        ([2.0, 3.0, 4.0], "no"),
        ([7.0, 7.0], "no"),
        ([0.1, 0.1], "yes"),
    ],
)
def test_verdict_says_no_more_than_the_seeds_allow(values, expected):
    assert verdict(0.0, values, 0.5, "", True) == expected
    assert verdict(0.0, values, 0.5, "tuned", True) == f"{expected}, tuned"


def test_a_better_or_a_no_is_wrong_by_chance_in_one_of_twenty_at_most():
    """In 4,000 tables without any difference 5 % are told apart by chance. The standard error of
    that share is 0.35 %; the tolerance is 4 of these."""
    random = Random(0)
    for n in (2, 3, 5):
        verdicts = [
            verdict(0.0, [random.gauss(0, 1) for _ in range(n)], 0.0, "", True) for _ in range(4000)
        ]
        assert sum(word in ("better", "no") for word in verdicts) / 4000 == pytest.approx(
            0.05, abs=0.014
        )


def test_half_width_is_that_of_students_and_welchs_t():
    assert half_width([(1.0, 1)]) == pytest.approx(T1, rel=1e-5)
    assert half_width([(1.0, 2)]) == pytest.approx(T2, rel=1e-5)
    assert half_width([(1.0, math.inf)]) == pytest.approx(1.95996, rel=1e-5)
    assert half_width([(0.0, 3), (0.0, math.inf)]) == 0.0
    # Two equal errors of one degree of freedom have two together, by Welch and Satterthwaite.
    assert half_width([(1.0, 1), (1.0, 1)]) == pytest.approx(math.sqrt(2) * T2, rel=1e-5)

    for a, b in (([1.0, 2.0, 4.0], [0.0, 0.5]), ([1.0, 1.5], [3.0, 9.0, 2.0, 4.0])):
        parts = [(mean_error(v)[2], len(v) - 1) for v in (a, b)]
        interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        assert half_width(parts) == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)

    with pytest.raises(ValueError, match="finite"):
        half_width([(math.nan, 1)])


@pytest.mark.parametrize(
    ("seeds", "runs", "ratio", "covered"),
    [
        (2, 0, 0.0, 0.95),
        (3, 0, 0.0, 0.95),
        (2, None, 0.3, 0.872),
        (3, None, 0.3, 0.922),
        (3, 5, 1.2, 0.959),
        (5, 5, 0.5, 0.951),
    ],
)
def test_an_interval_covers_as_often_as_it_is_said_to(seeds, runs, ratio, covered):
    """The tolerance is 4.5 standard errors of 4,000 repeats: a false alarm once in 150,000.

    ``ratio``: the error of the printed mean over that of ours; ``runs`` None: it is known, 0: there
    is none. ``covered`` of two means is from 400,000 repeats in another program.
    """
    rng = Random(seeds)
    inside = 0
    repeats = 4000
    for _ in range(repeats):
        # Ours: the mean over the seeds has a standard error of 1.
        mean, _, error, _ = mean_error([rng.gauss(0, seeds**0.5) for _ in range(seeds)])
        parts = [(error, seeds - 1)]
        # The printed number: exact, or with a known error, or the mean over the paper's own runs.
        printed = 0.0

        if runs is None:
            printed = rng.gauss(0, ratio)
            parts.append((ratio, math.inf))
        elif runs:
            printed, _, printed_error, _ = mean_error(
                [rng.gauss(0, ratio * runs**0.5) for _ in range(runs)]
            )
            parts.append((printed_error, runs - 1))

        inside += abs(mean - printed) < half_width(parts)

    assert abs(inside / repeats - covered) < 4.5 * math.sqrt(covered * (1 - covered) / repeats)


def test_the_papers_own_spread_enters():
    values = [1.0, 1.02, 0.98]
    assert verdict(0.0, values, 0.5, "", True) == "no"
    assert verdict(0.0, values, 0.5, "", True, 0.0) == "no"
    # 1.96 * 0.52 > 1, the difference: an unknown number of runs counts as one.
    assert verdict(0.0, values, 0.5, "", True, 0.52) == "unclear"
    assert verdict(0.0, values, 0.5, "", True, 0.52, 5) == "no"  # 2.78 * 0.52 / sqrt(5) = 0.65
    assert verdict(0.0, values, 0.5, "", True, 0.9, 5) == "unclear"  # 2.78 * 0.9 / sqrt(5) = 1.12
    assert verdict(0.9, values, 0.5, "", True, 0.3, 5) == "yes"
    assert verdict(0.9, values, 0.5, "", True, 0.3, 2) == "unclear"  # 12.7 * 0.21
    assert verdict(1.0, [1.0], 0.5, "", True, 0.3, 5) == "n=1"


def test_the_error_of_a_published_mean_has_one_degree_of_freedom_less_than_runs():
    assert published_error(3.0, 9) == (1.0, 8)
    assert published_error(2.0, 2) == (pytest.approx(math.sqrt(2)), 1)
    assert published_error(2.0, 1) == published_error(2.0, None) == (2.0, math.inf)
    # Of three runs, 4.30 * 1 / sqrt(3) = 2.48; by the quantile of three degrees it would be 1.84.
    assert verdict(0.0, [2.0, 2.0], 0.5, "", True, 1.0, 3) == "unclear"
    assert verdict(0.0, [2.6, 2.6], 0.5, "", True, 1.0, 3) == "no"


def test_mcmc_of_table_7_is_open():
    """Two seeds, 2.24 nats below the published number: p is 0.1, with the
    paper's own error or without."""
    table = load_table("dvae_sharp_sharp_mcmc")
    path = REFERENCE / "dvae_sharp_sharp_mcmc-short.csv"
    rows = {(r.row, r.column): r for r in summarize(table, read_csv(path))}
    mcmc = rows["MCMC", "test"]

    assert mcmc.n == 2
    assert mcmc.verdict == "unclear, short"
    assert verdict(mcmc.published, mcmc.ours.values, table.margin, "", True) == "unclear"
    assert 0.10 < ttest_1samp(mcmc.ours.values, mcmc.published).pvalue < 0.12


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
    m = Measure(
        "iw_nll",
        110.25,
        "nats",
        0.03,
        "monte carlo",
        10000,
        1000,
        "iw_nll|data:x",
        {"1": 113.0, "10": 111.5},
    )

    assert Measure.from_dict(json.loads(json.dumps(m.to_dict()))) == m


def test_measure_from_null_is_nan():
    m = Measure.from_dict({"name": "bound", "value": None, "unit": "nats", "unheard_of": 1})
    assert math.isnan(m.value)
    assert (m.error, m.error_kind, m.points, m.extra) == (None, "none", None, {})


@pytest.mark.parametrize(
    "bad",
    [{}, {"name": "bound", "unit": "nats"}, {"name": "a", "value": [], "unit": "nats"}, 3, None],
)
def test_measure_refuses_other_things(bad):
    with pytest.raises(ValueError, match="not a measure"):
        Measure.from_dict(bad)


def test_measure_refuses_unknown_errors():
    with pytest.raises(ValueError, match="monte carlo, seeds, log Z, none"):
        Measure("bound", 1.0, "nats", 0.1, "guess")
