"""Importance-weighted NLL: against direct sums, exact answers, its own error, and numbers that
would overflow."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import exact, jackknife
from vaebench.estimators.importance_weighted import ImportanceSum, importance, nested
from vaebench.estimators.weights import Pass, stream
from vaebench.metrics.importance import METRIC
from vaebench.metrics.job import Job
from vaebench.settings.records import EvalSettings

CONFIG = {"name": "sbn", "dims": [2, 3]}


@pytest.fixture(scope="module")
def model():
    return check.tiny(CONFIG, seed=1).requires_grad_(False)


@pytest.fixture(scope="module")
def x():
    return (
        torch.rand(120, check.VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.4
    ).double()


def weights_of(model, x, samples, seed=0):
    log_w = torch.zeros(samples, len(x), dtype=torch.float64)
    for part in stream(model, x, samples, seed):
        log_w[part.first : part.first + part.log_w.shape[0], part.cases] = part.log_w

    return log_w


def passes(log_w, size=10):
    """Log weights (K, n) as a stream of passes; the posterior's share is zero."""
    zero = torch.zeros(())
    return [
        Pass(
            slice(0, log_w.shape[1]),
            k,
            [log_w[k : k + size]],
            [zero.expand(log_w[k : k + size].shape)],
            [],
        )
        for k in range(0, len(log_w), size)
    ]


def summed(log_w, size=10):
    total = ImportanceSum(log_w.shape[1], len(log_w))
    for part in passes(log_w, size):
        total.add(part)

    return total.result()


@pytest.mark.parametrize("samples", [1, 2, 10, 37, 100, 123])
def test_it_is_the_direct_formula(model, x, samples):
    log_w = weights_of(model, x, samples)
    w = log_w.exp()
    log_p = w.mean(0).log()

    got = importance(model, x, samples, 0)

    assert got.nll == pytest.approx(-float(log_p.mean()), rel=1e-12)

    ess = w.sum(0) ** 2 / (w**2).sum(0)
    assert got.ess == pytest.approx(float(ess.mean()), rel=1e-9)
    assert got.ess_min == pytest.approx(float(ess.min()), rel=1e-9)
    assert got.case_error == pytest.approx(float(log_p.std()) / math.sqrt(len(x)), rel=1e-9)
    assert (got.cases, got.samples) == (120, samples)

    if samples == 1:
        assert got.error is None  # one weight says nothing about the spread of weights
    else:  # independent between cases
        variance = jackknife.variance(jackknife.group_sums(log_w), samples)
        assert got.error == pytest.approx(math.sqrt(float(variance.sum())) / len(x), rel=1e-9)


def test_chunk_and_batch_do_not_change_it(model, x):
    expected = importance(model, x, 230, 0)
    for chunk, batch in ((10, 100), (1000, 1000), (70, None)):
        got = importance(model, x, 230, 0, chunk=chunk, batch=batch)
        assert got.nll == pytest.approx(expected.nll, rel=1e-12)
        assert got.error == pytest.approx(expected.error, rel=1e-9)
        assert got.curve == pytest.approx(expected.curve, rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "points"),
    [
        (1, [1]),
        (2, [1, 2]),
        (10, [1, 10]),
        (37, [1, 10, 37]),
        (1000, [1, 10, 100, 1000]),
        (1001, [1, 10, 100, 1000, 1001]),
    ],
)
def test_points_of_the_curve(samples, points):
    assert nested(samples) == points


def test_the_curve_is_the_estimate_at_every_k(model, x):
    curve = importance(model, x, 237, 3).curve
    assert list(curve) == [1, 10, 100, 237]

    for k, value in curve.items():
        assert importance(model, x, k, 3).nll == pytest.approx(value, rel=1e-12)


def test_the_curve_falls_to_the_exact_nll(model):
    """The curve falls in expectation. With 4,000 cases its steps are many errors wide, and its end
    is within 4.5 errors of the exact NLL.

    The bias left at K samples is about half the squared relative error per case, 1 / (2 ESS): far
    below the error.
    """
    every = exact.states(check.VISIBLE)
    x = every.repeat(250, 1)  # each of 16 cases 250 times
    expected = -float(exact.log_evidence(model, every).mean())

    got = importance(model, x, 1000, 0, chunk=1000, batch=1000)
    values = list(got.curve.values())

    assert values[0] > values[1] + 0.01 > values[2] + 0.01
    assert values[2] > expected - 4.5 * importance(model, x, 100, 0).error
    assert abs(got.nll - expected) < 4.5 * got.error + 0.5 / got.ess_min
    assert got.error < 0.01 * (values[0] - expected)  # so being close means something


def test_effective_samples_are_between_one_and_k(model, x):
    got = importance(model, x, 50, 0)
    assert 1 <= got.ess_min <= got.ess <= 50
    assert got.ess_min < 49  # the weights do vary


def test_equal_weights():
    got = summed(torch.full((40, 3), -2.5, dtype=torch.float64))
    assert got.nll == pytest.approx(2.5, rel=1e-12)
    assert got.ess == got.ess_min == pytest.approx(40, rel=1e-9)
    assert got.error == pytest.approx(0.0, abs=1e-8)


def test_one_weight_dominates():
    log_w = torch.full((40, 2), -50.0, dtype=torch.float64)
    log_w[17] = 0.0

    got = summed(log_w)

    assert got.nll == pytest.approx(math.log(40), rel=1e-12)
    assert got.ess == pytest.approx(1.0, rel=1e-9)

    # One group left out of 40 moves the estimate by all but log 39/40 of 50 nats;
    # the others by log 40/39.
    moved = 50 - math.log(40) - math.log(40 / 39) + math.log(39 / 39)
    assert got.error == pytest.approx(39 / 40 * moved / math.sqrt(2), rel=0.1)


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_huge_log_weights_do_not_overflow(shift):
    log_w = torch.randn(25, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near = summed(log_w)
    far = summed(log_w + shift)

    assert far.nll == pytest.approx(near.nll - shift, abs=1e-8)
    assert (far.ess, far.error) == pytest.approx((near.ess, near.error), rel=1e-8)
    assert far.curve == pytest.approx({k: v - shift for k, v in near.curve.items()}, abs=1e-8)


def test_weights_thousands_of_nats_apart():
    log_w = torch.tensor([[1e4], [-1e4], [0.0]], dtype=torch.float64)
    got = summed(log_w)

    assert got.nll == pytest.approx(math.log(3) - 1e4, rel=1e-12)
    assert got.ess == pytest.approx(1.0)
    assert got.curve[1] == pytest.approx(-1e4)


def test_samples_beyond_k_are_left_out():
    log_w = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = ImportanceSum(3, 15)

    for part in passes(log_w):
        total.add(part)

    assert total.result() == summed(log_w[:15])


def test_missing_samples_are_an_error():
    total = ImportanceSum(3, 20)
    total.add(passes(torch.zeros(10, 3, dtype=torch.float64))[0])

    with pytest.raises(RuntimeError, match="3 cases had fewer than 20 samples"):
        total.result()


def test_a_weight_that_is_not_a_number_stays_visible():
    log_w = torch.zeros(10, 2, dtype=torch.float64)
    log_w[3, 1] = math.nan

    assert math.isnan(summed(log_w).nll)


def test_the_error_is_honest(model, x):
    """The standard deviation of the NLL over 200 seeds is the error that is stated.

    200 seeds give it to 5 %, so the 25 % allowed are five of its errors.
    """
    results = [importance(model, x[:20], 60, seed, chunk=60) for seed in range(200)]
    nll = torch.tensor([r.nll for r in results])
    stated = torch.tensor([r.error for r in results]).mean()

    assert float(nll.std() / stated) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(("posterior", "weighted"), [("factorial", True), ("deterministic", False)])
def test_a_posterior_that_is_a_point_has_nothing_to_weigh(x, posterior, weighted):
    net = check.tiny({"name": "sbn", "dims": [3], "posterior": posterior}, seed=1)
    job = Job(net, x, EvalSettings(iw_samples=5), 0)

    assert METRIC.applies(job) is weighted
