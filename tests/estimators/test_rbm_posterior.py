"""Annealed Boltzmann posteriors: both estimates of the NLL against enumeration, their errors,
batches of any size, and counts of modes."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators import annealed_posterior, exact
from vaebench.estimators.annealed_posterior import AnnealedSum, count_modes, stream
from vaebench.estimators.variational import BoundSum

LIMIT = 4.75
"""|z| of one comparison; exceeded by chance once in 490,000."""


@pytest.fixture(scope="module")
def model(boltzmann):
    return boltzmann


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE)


def summed(model, x, chains, steps, seed=0, samples=None, **settings):
    log_z = float(boltzmann_exact.log_z(model.prior()))
    total = AnnealedSum(len(x), samples or chains, chains=chains, log_z=log_z)

    for part in stream(model, x, chains, steps, seed, **settings):
        total.add(part)

    return total


def test_the_posteriors_are_worth_annealing(model, x):
    """Couplings matter, and the posterior is not the true one. Otherwise the tests below would say
    nothing."""
    rbm = model.posterior(x)
    uncoupled_log_z = torch.nn.functional.softplus(rbm.b1).sum(-1) + torch.nn.functional.softplus(
        rbm.b2
    ).sum(-1)

    assert (boltzmann_exact.log_z(rbm) - uncoupled_log_z).abs().mean() > 2
    assert (exact.log_evidence(model, x) - exact.elbo(model, x)).mean() > 0.1


def test_nll_is_that_of_enumeration(model, x):
    expected = -float(exact.log_evidence(model, x).mean())
    total = summed(model, x, 4000, 100)

    for got in (total.plain.result(), total.weighted.result()):
        assert abs(got.nll - expected) < LIMIT * got.error
        assert 0 < got.error < 0.01

    assert expected > 1


def test_bound_and_kl_are_those_of_enumeration(model, x):
    total = BoundSum(len(x), 4000, log_z=float(boltzmann_exact.log_z(model.prior())))
    for part in stream(model, x, 4000, 100, 0):
        total.add(part)

    got = total.result()
    assert abs(got.value - float(exact.elbo(model, x).mean())) < LIMIT * got.error
    assert got.error < 0.01

    (kl,) = exact.layer_kl(model, x)
    assert got.kl == pytest.approx([float(kl.mean())], abs=0.03)


def test_few_temperatures_bias_the_plain_estimate_and_not_the_weighted_one(model, x):
    """After one step the states are those of the base, moved by one sweep. The weighted estimate of
    p(x) has the mean p(x) all the same.

    The posterior is farther from the true one than elsewhere, so that wrong states show.
    """
    model = copy.deepcopy(model)
    model.p.prior.w.mul_(0.3)
    total = summed(model, x, 20_000, 1)
    expected = -float(exact.log_evidence(model, x).mean())
    weighted = total.weighted.result()
    plain = total.plain.result()

    assert abs(weighted.nll - expected) < LIMIT * weighted.error
    assert abs(plain.nll - expected) > 3 * LIMIT * plain.error


def test_the_errors_are_honest(model, x):
    """The standard deviation over 150 seeds is the error stated, with the share of log Z_x in it.

    150 seeds give it to 6 %, so the 30 % allowed are five of its errors.
    """
    results = [summed(model, x[:5], 60, 10, seed) for seed in range(150)]
    for kind in ("plain", "weighted"):
        estimates = [getattr(r, kind).result() for r in results]
        true_error = torch.tensor([r.nll for r in estimates]).std()
        stated = torch.tensor([r.error for r in estimates]).square().mean().sqrt()

        assert float(true_error / stated) == pytest.approx(1.0, abs=0.3), kind


@pytest.mark.parametrize(("chains", "samples"), [(200, 200), (40, 15)])
def test_the_error_is_the_jackknife_over_pairs_of_weights(model, x, chains, samples):
    """log mean w + log mean a without each group of chains, straight from the definition."""
    total = summed(model, x[:3], chains, 5, samples=samples)
    parts = list(stream(model, x[:3], chains, 5, 0))
    w, a = (torch.cat(v).exp() for v in ([p.log_w for p in parts], [p.log_a for p in parts]))

    assert torch.allclose(a.mean(0), torch.ones(3).double())

    # w are the weights of the samples, a those of the annealing: a group is left out of both.
    g = min(50, samples)
    group_of = torch.arange(chains) % g
    left_out = [
        w[:samples][group_of[:samples] != i].mean(0).log() + a[group_of != i].mean(0).log()
        for i in range(g)
    ]
    expected = ((g - 1) * torch.stack(left_out).var(0, unbiased=False)).sum().sqrt() / 3

    assert total.plain.result().error == pytest.approx(float(expected), rel=0.01)


def strong(model, factor):
    """The same model with the couplings of its posteriors multiplied by ``factor``: few chains of a
    short annealing carry the weight."""
    model = copy.deepcopy(model)
    inner = model.posterior
    model.posterior = lambda x: RBM(*(p * f for p, f in zip(inner(x), (1, 1, factor), strict=True)))
    return model


def test_the_errors_are_honest_where_few_chains_carry_the_weight(model, x):
    """Each error is within a factor of 1.25 of the standard deviation over 100 seeds, which is
    known to 7 %. By the delta method it would be 0.6 of it."""
    hard = strong(model, 4.0)
    by_seed = []

    for seed in range(100):
        total = AnnealedSum(8, 60, shown=0)
        bound = BoundSum(8, 60)
        for part in stream(hard, x[:8], 60, 3, seed):
            total.add(part)
            bound.add(part)

        by_seed.append((total.plain.result(), total.weighted.result(), bound.result()))

    for results in zip(*by_seed, strict=True):
        value = torch.tensor([r.nll if hasattr(r, "nll") else r.value for r in results])
        stated = torch.tensor([r.error for r in results]).square().mean().sqrt()
        assert 0.8 < float(stated / value.std()) < 1.25


@pytest.mark.parametrize(("batch", "chunk"), [(1, None), (5, 7), (100, 3), (None, 40)])
def test_batches_and_chunks_do_not_change_it(model, x, batch, chunk):
    expected = summed(model, x, 40, 8)
    got = summed(model, x, 40, 8, batch=batch, chunk=chunk)

    for kind in ("plain", "weighted"):
        estimate, other_passes = (getattr(v, kind).result() for v in (expected, got))
        assert other_passes.nll == pytest.approx(estimate.nll, rel=1e-12)
        assert other_passes.error == pytest.approx(estimate.error, rel=1e-9)
        assert other_passes.curve == pytest.approx(estimate.curve, rel=1e-12)

    assert got.modes(model, x) == expected.modes(model, x)


def test_memory_is_bounded_and_the_encoder_sees_every_case_once(model, x, monkeypatch):
    encoded = []
    inner = type(model).posterior
    monkeypatch.setattr(
        type(model), "posterior", lambda self, v: encoded.append(len(v)) or inner(self, v)
    )
    parts = list(stream(model, x, 10, 2, 0, max_floats=200))

    # 10 chains of 6 units: three of the 16 cases fit into 200 numbers.
    assert encoded == [3] * 5 + [1]
    assert all(p.z[0].numel() <= 200 for p in parts)
    assert sum(p.z[0].shape[0] * p.z[0].shape[1] for p in parts) == 10 * len(x)


def test_samples_beyond_those_asked_for_are_left_out(model, x):
    total = summed(model, x, 40, 8, samples=15, chunk=10)
    log_w = torch.cat([p.log_w for p in stream(model, x, 40, 8, 0)])[:15]
    expected = -float((torch.logsumexp(log_w, 0) - math.log(15)).mean()) + float(
        boltzmann_exact.log_z(model.prior())
    )

    assert total.plain.result().nll == pytest.approx(expected, rel=1e-12)


def test_log_q_is_normalised_by_the_annealed_log_z(model, x):
    (part,) = stream(model, x[:2], 4000, 100, 0, chunk=4000, batch=2)
    exactly = model.log_posterior(part.z, x[:2]) - boltzmann_exact.log_z(model.posterior(x[:2]))

    assert ((part.log_q[0] - exactly).abs() < LIMIT * part.error).all()
    assert (part.log_q[0] - exactly).std(0).max() < 1e-9
    assert (part.error < 0.05).all()


def test_modes():
    """Units that want to be equal have two modes, all zeros and all ones, and only one once the
    biases tip."""
    n = 5
    w = torch.full((5, 5), 4.0)
    bias = torch.full((n,), -2.0 * n)
    states = (torch.rand(200, n, generator=torch.Generator().manual_seed(0)) < 0.5).float()

    assert count_modes(RBM(bias, bias, w), states) == 2
    assert count_modes(RBM(bias + 40, bias + 40, w), states) == 1
    assert count_modes(RBM(bias, bias, 0 * w), states) == 1

    few = torch.cat([torch.zeros(100, n), torch.ones(5, n)])
    assert count_modes(RBM(bias, bias, w), few) == 1  # five hits are not more than five
    assert count_modes(RBM(bias, bias, w), torch.cat([few, torch.ones(1, n)])) == 2


def test_modes_of_the_first_cases_only(model, x):
    total = summed(model, x, 40, 8)
    rbms = model.posterior(x[:5])
    z = torch.cat([p.z[0] for p in stream(model, x, 40, 8, 0, batch=16)])
    expected = [count_modes(RBM(*(p[i] for p in rbms)), z[:, i, :3]) for i in range(5)]

    assert total.modes(model, x) == expected
    assert set(total.states) == set(range(5))
    assert annealed_posterior.SHOWN == 5
