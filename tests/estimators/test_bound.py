"""The bound by the paper's protocol: value, Monte Carlo error and KL of each layer
against exact enumeration."""

from __future__ import annotations

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import exact
from vaebench.estimators.variational import BoundSum, bound
from vaebench.estimators.weights import Pass, stream


@pytest.fixture(scope="module")
def model():
    return check.tiny({"name": "sbn", "dims": [2, 2, 3]}, seed=1).requires_grad_(False)


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE)


def test_it_is_the_mean_of_the_weights(model, x):
    log_w = torch.cat([part.log_w for part in stream(model, x, 17, 0)])
    got = bound(model, x, 17, 0)

    assert got.value == pytest.approx(float(log_w.mean()), rel=1e-12)
    assert got.error == pytest.approx(float((log_w.var(0) / 17).sum().sqrt() / len(x)), rel=1e-9)
    assert (got.cases, got.samples) == (16, 17)


def test_it_meets_the_exact_bound_below_the_evidence(model, x):
    """A normal z exceeds 4.5 by chance once in 150,000 seeds."""
    got = bound(model, x, 4000, 0)
    expected = float(exact.elbo(model, x).mean())

    assert abs(got.value - expected) < 4.5 * got.error
    assert got.value < float(exact.log_evidence(model, x).mean()) - 20 * got.error


def test_kl_of_each_layer(model, x):
    """Means over 30 repetitions, whose scatter gives their errors.

    There is a z for each of three layers (Student's t, 29 degrees of freedom): one is above 4.5
    about once in 3,000 seeds.
    """
    repeats = torch.tensor(
        [bound(model, x, 100, seed).kl for seed in range(30)], dtype=torch.float64
    )
    expected = torch.stack([v.mean() for v in exact.layer_kl(model, x)])
    z = (repeats.mean(0) - expected) / (repeats.std(0) / 30**0.5)

    assert z.abs().max() < 4.5
    # The errors are small against the difference between layers, so confusing two would be seen.
    assert (repeats.std(0) / 30**0.5 < 0.02 * (expected[:, None] - expected).abs().max()).all()


def test_the_kl_is_what_the_data_term_lacks(model, x):
    """bound = E[log p(x | h_1)] - sum of the layers' KL, sample by sample."""
    data = torch.cat([part.log_p[0] for part in stream(model, x, 10, 0)]).mean()
    got = bound(model, x, 10, 0)

    assert got.value == pytest.approx(float(data) - sum(got.kl), rel=1e-12)


def test_the_error_is_honest(model, x):
    """The standard deviation over 200 seeds is the error that is stated.

    200 seeds give it to 5 %, so the 25 % allowed are five of its errors.
    """
    results = [bound(model, x, 10, seed) for seed in range(200)]
    true_error = torch.tensor([r.value for r in results]).std()
    stated = torch.tensor([r.error for r in results]).square().mean().sqrt()

    assert float(true_error / stated) == pytest.approx(1.0, abs=0.25)


def test_one_sample_has_no_error(model, x):
    assert bound(model, x, 1, 0).error is None


def test_samples_beyond_the_number_asked_for_are_left_out(model, x):
    total = BoundSum(len(x), 7)
    for part in stream(model, x, 30, 0):
        total.add(part)

    expected = bound(model, x, 7, 0)
    got = total.result()

    assert (got.value, got.error) == pytest.approx((expected.value, expected.error), rel=1e-9)
    assert got.kl == pytest.approx(expected.kl, rel=1e-9)


def test_a_large_common_offset_does_not_swallow_the_error():
    """Log-weights of 1e4 nats differ by 1: sums of squares in float64 still see the difference."""
    log_w = 1e4 + torch.arange(10.0, dtype=torch.float64).reshape(10, 1)
    total = BoundSum(1, 10)

    total.add(Pass(slice(0, 1), 0, [log_w, torch.zeros_like(log_w)], [torch.zeros_like(log_w)], []))

    assert total.result().value == pytest.approx(1e4 + 4.5)
    assert total.result().error == pytest.approx(float(log_w.std()) / 10**0.5, rel=1e-5)


def test_an_error_that_the_samples_of_a_case_share():
    """Such an error averages out over cases, but not over samples."""
    log_w = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero = torch.zeros_like(log_w)
    total = BoundSum(2, 10, log_z=1.5)

    for first in (0, 5):
        part = log_w[first : first + 5]
        total.add(
            Pass(slice(0, 2), first, [part, zero[:5]], [zero[:5]], [], torch.tensor([0.3, 0.4]))
        )

    # Variances of the two examples, 0.3^2 + 0.4^2 of them shared by all ten samples.
    sampling_variance = (log_w.var(0) / 10).sum()
    assert total.result().error == pytest.approx(float((sampling_variance + 0.25).sqrt()) / 2)
    assert total.result().value == pytest.approx(float(log_w.mean()) - 1.5)
    assert total.result().kl == pytest.approx([1.5])  # log Z alone


def test_log_z_is_once_in_every_examples_kl_and_bound():
    """Two examples, two samples, by hand: log p(x | z) is -1 or -3, log q - log p is 1 to 4."""
    data = torch.tensor([[-1.0, -3.0], [-3.0, -1.0]])
    prior = torch.tensor([[-2.0, -4.0], [-3.0, -5.0]])
    posterior = torch.tensor([[-1.0, -1.0], [-1.0, -1.0]])
    total = BoundSum(2, 2, log_z=0.5)

    total.add(Pass(slice(0, 2), 0, [data, prior], [posterior], []))

    # KL: means over samples of log q - log p, and log Z. Both examples have -E[log p(x | z)] = 2.
    assert total.each_kl().tolist() == [1.5 + 0.5, 3.5 + 0.5]
    assert total.each().tolist() == [2 + 2.0, 2 + 4.0]
    assert total.result().kl == [3.0]
    assert total.result().value == -5.0
