"""Evaluation noise: seeds of the repetitions, and what becomes of their measures."""

from __future__ import annotations

import math

import pytest

from vaebench.metrics.repeats import repeat_seeds, together
from vaebench.results.stats import Measure


def measures(*values, **extra):
    return [
        Measure(f"m{i}", v, "nats", error=0.5, error_kind="monte carlo", extra=extra)
        for i, v in enumerate(values)
    ]


def test_the_first_seed_is_the_runs_own_and_more_repeats_keep_the_others():
    assert repeat_seeds(7, 1) == [7]

    ten = repeat_seeds(7, 10)
    assert ten[:4] == repeat_seeds(7, 4)
    assert len(set(ten + repeat_seeds(8, 10))) == 20


def test_none_is_too_few():
    with pytest.raises(ValueError, match="at least 1"):
        repeat_seeds(7, 0)


def test_mean_and_variance_by_hand():
    first, second = together(
        [measures(1.0, 5.0, a=1), measures(2.0, 5.0, a=2), measures(6.0, 5.0, a=3)]
    )

    assert (first.name, first.value, first.error, first.extra["a"]) == ("m0", 1.0, 0.5, 1)
    assert first.extra["repeats"] == {
        "values": [1.0, 2.0, 6.0],
        "mean": 3.0,
        "variance": pytest.approx(7.0),
    }
    assert second.extra["repeats"]["variance"] == 0


def test_once_is_as_it_was():
    assert together([measures(1.0)]) == measures(1.0)


def test_what_is_not_finite_has_no_mean():
    (got,) = together([measures(1.0), measures(math.inf)])
    assert got.extra["repeats"] == {"values": [1.0, math.inf]}


def test_other_measures_are_an_error():
    with pytest.raises(ValueError, match="differ in their measures"):
        together([measures(1.0), measures(1.0, 2.0)])
