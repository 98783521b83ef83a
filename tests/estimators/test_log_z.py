"""log Z by every method: enumeration, the mean of weights and its error, machines without
couplings, bad arguments."""

from __future__ import annotations

import pytest
import torch
from kit.rbms import normal_rbm

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.partition import groups, log_mean


def test_exact():
    m = normal_rbm(2, 2, n1=3, n2=5)
    _, _, log_p = boltzmann_exact.log_probs(m)

    # The state of all zeros, (z1, z2), whose energy is zero: its log-probability is -log Z.
    zero = torch.zeros(1, 2, 2, 3).double(), torch.zeros(1, 2, 2, 5).double()
    expected = -log_p[0]  # the first state is all zeros

    assert torch.equal(m.negative_energy(*zero), torch.zeros(1, 2, 2).double())

    got = logz.exact(m.to(torch.float32))
    assert got.value.dtype == torch.float64
    assert torch.allclose(logz.exact(m).value, expected, atol=1e-11)
    assert torch.allclose(got.value, expected, atol=1e-5)
    assert torch.equal(got.upper, got.value)
    assert not got.error.any()


def test_the_mean_of_weights_its_error_and_effective_number():
    # Log-weights of 5,000 nats, whose weights would overflow.
    log_w = (
        torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 5000
    )
    w = (log_w - 5000).exp()
    value, error, ess = log_mean(log_w)

    assert torch.allclose(value, w.mean(0).log() + 5000)

    left_out = torch.stack([torch.cat([w[:i], w[i + 1 :]]).mean(0).log() for i in range(50)])
    # The usual jackknife: 50 weights are 50 groups.
    assert torch.allclose(error, (49 * left_out.var(0, unbiased=False)).sqrt())
    assert torch.allclose(ess, w.sum(0) ** 2 / (w * w).sum(0))


def test_groups_of_machines():
    assert list(groups(5, 10, 25)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(groups(2, 10, 9)) == [slice(0, 1), slice(1, 2)]


def test_without_couplings_every_method_is_exact():
    m = normal_rbm(2, n1=5, n2=3)
    m = m._replace(w=torch.zeros_like(m.w))
    expected = logz.exact(m).value
    results = [logz.ais(m, 5, 10, 0, reverse=True), logz.parallel_tempering(m, 5, 4, 0)]

    for got in results:
        assert torch.allclose(got.value, expected, rtol=0, atol=1e-12)
        assert got.error.abs().max() < 1e-12

    assert torch.allclose(results[0].upper, expected, rtol=0, atol=1e-12)
    assert torch.allclose(results[0].ess, torch.tensor(10.0).double())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: logz.ais(m, 0, 10, 0), "0 temperatures, 10 chains, 1 sweeps"),
        (lambda m: logz.ais(m, 5, 1, 0), "1 chains"),
        (
            lambda m: logz.ais(m, 5, 10, 0, base="flat"),
            "base 'flat' is neither 'uniform' nor 'biases'",
        ),
        (lambda m: logz.ais(m, 5, 10, 0, purpose="evl"), "purpose 'evl'"),
        (lambda m: logz.parallel_tempering(m, 5, 1, 0), "5 sweeps, 1 chains"),
        (
            lambda m: logz.parallel_tempering(m, 5, 10, 0, band=(0.8, 0.4)),
            "band of exchange rates is 0.8 to 0.4",
        ),
        (
            lambda m: logz.exact(RBM(torch.zeros(21), torch.zeros(21), torch.zeros(21, 21))),
            "cannot be enumerated",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal_rbm(n1=6, n2=6))
