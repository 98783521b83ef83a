"""The error of a log-mean-exp: its definition, any chunks, and the standard deviation over repeats
where few weights count."""

from __future__ import annotations

import math

import pytest
import torch
from kit.draws import normal

from vaebench.check import checks as check
from vaebench.estimators import jackknife
from vaebench.estimators.importance_weighted import ImportanceSum, importance
from vaebench.estimators.jackknife import LogSums, group_sums, left_out, variance
from vaebench.estimators.log_z.methods import ais


@pytest.mark.parametrize("samples", [2, 3, 49, 50, 51, 100, 123])
def test_groups_are_left_out_one_by_one(samples):
    """Against a loop over the groups, for groups of equal and of unequal sizes."""
    log_w = 2 * normal(samples, 4)

    # Sample k is in group k mod 50.
    g = min(50, samples)
    group_of = torch.arange(samples) % g
    expected = torch.stack([log_w[group_of != i].exp().mean(0).log() for i in range(g)])
    groups = group_sums(log_w)

    torch.testing.assert_close(left_out(groups, samples), expected, rtol=0, atol=1e-10)

    whole = log_w.exp().mean(0).log()
    n = samples
    m = torch.bincount(group_of).double().unsqueeze(-1)

    # Groups may be unequal: Busing, Meijer & van der Leeden 1999, equations 5 and 6.
    pseudo = n / m * whole - (n / m - 1) * expected
    centre = g * whole - ((1 - m / n) * expected).sum(0)

    torch.testing.assert_close(variance(groups, n), ((pseudo - centre) ** 2 / (n / m - 1)).mean(0))

    if n % g == 0:  # the usual jackknife
        torch.testing.assert_close(variance(groups, n), (g - 1) * expected.var(0, unbiased=False))


@pytest.mark.parametrize("size", [1, 7, 10, 50, 60, 400])
def test_chunks_do_not_change_the_groups(size):
    log_w = 3 * normal(173, 6)
    sums = LogSums(6, 173)

    for cases in (slice(0, 4), slice(4, 6)):
        for first in range(0, 173, size):
            sums.add(log_w[first : first + size, cases], first, cases)

    torch.testing.assert_close(sums.groups, group_sums(log_w), rtol=0, atol=1e-12)


def test_one_sample_says_nothing():
    assert torch.isnan(variance(group_sums(normal(1, 3)), 1)).all()


def test_a_dominating_weight_hides_nothing():
    """The other weights are 1,000 nats below. A difference of sums would lose all their digits."""
    log_w = normal(100, 1)
    log_w[17] = 1000.0
    rest = left_out(group_sums(log_w), 100)

    assert float(rest[17, 0]) < 5
    assert float(variance(group_sums(log_w), 100)) > 100**2


@pytest.mark.parametrize("samples", [10, 60, 100, 1000])
@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_it_is_the_spread_over_repeats(samples, scale):
    """The mean variance of 2,000 cases with log-normal weights is that of their estimates.

    2,000 cases give the true standard deviation to 1.6 %. The jackknife must be within a factor of
    1.2, which 1 / ESS - 1 / K misses. It is the mean over cases that the error of an NLL takes.
    """
    log_w = scale * normal(samples, 2000)
    log_mean = torch.logsumexp(log_w, 0)
    ess = torch.exp(2 * log_mean - torch.logsumexp(2 * log_w, 0))
    stated = variance(group_sums(log_w), samples).mean().sqrt()

    assert 1 / 1.2 < float(stated / log_mean.std()) < 1.2

    if scale == 4.0:
        by_delta_method = (1 / ess - 1 / samples).mean().sqrt()
        assert float(by_delta_method / log_mean.std()) < 0.8


def test_the_error_of_an_iw_nll_is_honest_with_few_effective_samples():
    """A net with a poor posterior: the error stated is the standard deviation over 150 seeds, which
    is known to 6 %, within a factor of 1.25.

    By the delta method the error would be less than 0.6 of that.
    """
    model = check.tiny({"name": "sbn", "dims": [8], "posterior": "factorial"}, seed=2, scale=2.5)
    x = (torch.rand(30, check.VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.5).double()

    results = [importance(model, x, 40, seed) for seed in range(150)]
    true_error = torch.tensor([r.nll for r in results]).std()
    stated = torch.tensor([r.error for r in results]).square().mean().sqrt()

    assert results[0].ess < 6
    assert 0.8 < float(stated / true_error) < 1.25


def test_the_error_of_an_annealed_log_z_is_honest_with_few_effective_chains():
    """300 equal machines with strong couplings, each with noise of its own: three temperatures, 40
    chains."""
    rbm = check.tiny(
        {"name": "rbm_posterior", "latents": 12, "layers": 0, "units": 3}, seed=1, scale=1.0
    ).prior()
    copies = type(rbm)(*(p.expand(300, *p.shape) for p in (rbm.b1, rbm.b2, 5 * rbm.w)))

    log_z = ais(copies, 3, 40, 0, base="uniform")

    assert float(log_z.ess.mean()) < 8
    assert 0.8 < float(log_z.error.square().mean().sqrt() / log_z.value.std()) < 1.25


def test_states_are_tensors_and_numbers():
    """Otherwise an evaluation could not be saved half-way."""
    sums = ImportanceSum(3, 60)
    assert {type(v) for v in vars(sums.groups).values()} == {torch.Tensor}
    assert sums.groups.groups.shape == (jackknife.GROUPS, 3)
    # Nothing has been added yet: all log-sums are those of no weights.
    assert math.isinf(float(sums.groups.groups.max()))
