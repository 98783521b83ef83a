"""What several metrics share, by hand: the standard error over examples, and log Z."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.over_examples import standard_error
from vaebench.estimators.sums import Sums
from vaebench.metrics.job import Job
from vaebench.metrics.normaliser import METRIC
from vaebench.settings.records import EvalSettings


def test_the_error_over_examples_is_that_of_their_mean():
    """Three examples with the squared distances 4, 1 and 9 from their mean: variance 14 / 2 = 7."""
    assert standard_error(torch.tensor([1.0, 2.0, 6.0])) == pytest.approx(math.sqrt(7 / 3))
    assert standard_error(torch.tensor([1.0, 2.0, 6.0]).repeat(100)) == pytest.approx(
        math.sqrt(14 / 3 * 300 / 299 / 300)
    )
    assert standard_error(torch.tensor([3.0])) is None


def test_log_z_is_told_from_below_and_from_above():
    model = check.tiny({"name": "rbm_vae", "latents": 4, "groups": 1, "layers": 0, "units": 3})
    log_z = LogZ(
        torch.tensor(5.0),
        torch.tensor(0.1),
        "by hand",
        ess=torch.tensor(7.0),
        sd=torch.tensor(0.3),
        chains=100,
        upper=torch.tensor(5.5),
        upper_error=torch.tensor(0.2),
        upper_exact=True,
    )

    (measure,) = METRIC.measures(Job(model, torch.zeros(2, 4), EvalSettings(), 0), log_z)

    assert (measure.value, measure.error) == pytest.approx((5.0, 0.1))
    assert measure.extra["upper"] == pytest.approx(5.5)
    assert measure.extra["upper_error"] == pytest.approx(0.2)
    assert (measure.extra["ess"], measure.extra["chains"]) == (7.0, 100)
    assert measure.extra["log_w_sd"] == pytest.approx(0.3)
    assert measure.extra["gap"] == pytest.approx(0.5)
    assert measure.extra["gap_error"] == pytest.approx(math.hypot(0.1, 0.2))
    assert measure.extra["method"] == "by hand"


class Counted(Sums):
    """Sums that count how many samples of each example they were given."""

    def __init__(self, samples):
        self.samples = samples
        self.seen = 0

    def add(self, part):
        self.seen += len(part.log_p[0])

    def state(self):
        return {"seen": self.seen}

    def load(self, kept):
        self.seen = kept["seen"]


def test_sums_of_one_stream_stop_at_their_own_numbers():
    model = check.tiny({"name": "sbn", "dims": [3]}).requires_grad_(False)
    few = Counted(20)
    many = Counted(60)
    job = Job(model, torch.zeros(2, check.VISIBLE), EvalSettings(), 0)

    job.fill([few, many], chunk=20)

    assert (few.seen, many.seen) == (20, 60)

    job.fill([])
