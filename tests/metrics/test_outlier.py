"""One case that outweighs all the others, and cases that are not finite, are noticed in every mean
over cases, and nothing else is."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.data.info import DataInfo
from vaebench.estimators import outlier
from vaebench.estimators.outlier import noticed
from vaebench.evaluation.evaluate import evaluate
from vaebench.models.belief_net import SBN
from vaebench.nn.init import initialize

CASES = 30


def test_one_case_is_found_by_its_distance_from_the_median():
    nlls = torch.tensor([100.0, 101.0] * 20)
    assert noticed(nlls) == {}

    # The median is the lower of the two middle values, 100. The case lies 19 from it, the others
    # lie 0 or 1 from it, 20 in all.
    nlls[7] = 100.0 - 19.0
    assert noticed(nlls) == {}

    nlls[7] = 100.0 - 21.0
    noted = noticed(nlls)["one_case"]

    assert noted == {"case": 7, "value": 79.0, "median": 100.0, "shift": pytest.approx(-21 / 40)}


def test_either_side_counts_whatever_the_size():
    for value in (1e12, -7e6, 1e300):
        nlls = torch.linspace(80, 120, 1000, dtype=torch.float64)
        nlls[500] = value
        assert noticed(nlls)["one_case"]["case"] == 500


def test_two_equal_outliers_are_not_one():
    nlls = torch.linspace(80, 120, 1000)
    nlls[3] = nlls[4] = 1e6

    assert noticed(nlls) == {}


def test_heavy_tails_are_no_outlier():
    """200 sets of 1,000 log-normal values, whose logarithm has a standard deviation of 1: the
    largest is far below the sum of the others."""
    generator = torch.Generator().manual_seed(0)
    sets = torch.randn(200, 1000, generator=generator).exp()

    assert [noticed(each) for each in sets] == [{}] * 200


def test_few_cases_or_a_shift_of_nothing_are_left_alone():
    # One case of 20 at 1 moves the mean by 0.05 nats.
    nlls = torch.zeros(outlier.LEAST_CASES)
    nlls[0] = 1.0

    assert "one_case" in noticed(nlls)
    assert noticed(nlls[:-1]) == {}
    assert noticed(nlls * 0.09) == {}  # 0.0045 nats


def test_cases_that_are_not_finite_come_first():
    nlls = torch.ones(CASES)
    nlls[[4, 9]] = torch.tensor([math.nan, -math.inf])

    assert noticed(nlls) == {"not_finite": {"cases": 2, "first": 4}}


# --------------------------------------------------------------------------------- in every measure


class Poisoned(SBN):
    """A belief net that adds ``value`` to the log-likelihood of one case, or of all if none is
    given."""

    def __init__(self, *args, value: float = 0.0, case: torch.Tensor | None = None) -> None:
        super().__init__(*args)
        self.value = value
        self.case = case

    def log_joint_terms(self, x, z):
        first, *rest = super().log_joint_terms(x, z)
        hit = (
            torch.ones(len(x), dtype=torch.bool) if self.case is None else (x == self.case).all(-1)
        )
        return [torch.where(hit, first + self.value, first), *rest]


@pytest.fixture
def config():
    return {
        "data": {"name": "digits"},
        "model": {"name": "sbn"},
        "eval": {"split": "test", "points": None, "bound_samples": 10, "iw_samples": 20},
        "train": {"select": "last"},
        "recipe": 1,
    }


@pytest.fixture
def cases():
    x = torch.randint(
        0, 2, (CASES, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )

    # The first five bits are the case's number, so all cases differ.
    x[:, :5] = torch.tensor(
        [[i >> b & 1 for b in range(5)] for i in range(CASES)], dtype=torch.uint8
    )
    return x


def evaluated(cases, config, **poison):
    model = Poisoned(DataInfo(torch.full((12,), 0.5)), [4, 3], **poison)
    initialize(model, torch.Generator().manual_seed(0), "normal", 0.5)
    return {m.name: m for m in evaluate(model, cases, config, "8f3a12cd", 0)}


def test_healthy_cases_have_no_flags(cases, config):
    measures = evaluated(cases, config)
    assert {name: m.flags for name, m in measures.items() if name != "kl"} == {
        "bound": (),
        "iw_nll": (),
        "active_units": (),
    }


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_one_case_marks_bound_and_nll(value, cases, config):
    measures = evaluated(cases, config, value=value, case=cases[17])
    for name in ("bound", "iw_nll"):
        m = measures[name]
        assert m.extra["one_case"]["case"] == 17
        # The rest of the mean is that of the model without the fault.
        assert m.extra["one_case"]["shift"] == pytest.approx(-value / CASES, rel=1e-3)
        assert [f for f in m.flags if f.startswith("one case: case 17,")]
        assert ("impossible" in m.flags[0]) == (value > 0)

    assert "one_case" not in measures["kl"].extra


def test_a_case_without_a_number_is_named(cases, config):
    measures = evaluated(cases, config, value=math.nan, case=cases[17])
    for name in ("bound", "iw_nll"):
        assert math.isnan(measures[name].value)
        assert measures[name].flags == ("not finite: 1 of 30 cases, case 17 the first of them",)


def test_a_continuous_model_may_have_a_negative_nll(cases, config):
    from vaebench.models.linear_gaussian import LinearGaussian

    config["model"]["name"] = "linear_gaussian"
    model = LinearGaussian(DataInfo(torch.zeros(12)), [2])

    with torch.no_grad():
        model.p["log_sd"].fill_(-3.0)

    measures = {m.name: m for m in evaluate(model, torch.zeros(CASES, 12), config, "8f3a12cd", 0)}
    assert measures["bound"].value < 0
    assert measures["bound"].flags == ()

    config["model"]["name"] = "sbn"
    assert {m.name: m for m in evaluate(model, torch.zeros(CASES, 12), config, "8f3a12cd", 0)}[
        "bound"
    ].flags
