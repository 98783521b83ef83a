"""Densities of many Gaussian posteriors, and how they are gathered from
the passes over the data."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from kit.gaussian_posteriors import drawn, random

from vaebench.estimators import posteriors
from vaebench.estimators.mutual_information import whole_set
from vaebench.estimators.posteriors import Gather, Posteriors, log_mixture
from vaebench.estimators.weights import Pass
from vaebench.models.posterior import Gaussian


def brute(p, i, rows):
    """log (1/b) sum_j q(z_i | x_j), one density after the other."""
    densities = [
        torch.distributions.Normal(p.mean[j], torch.exp(p.log_var[j] / 2))
        .log_prob(p.z[i])
        .sum(-1)
        .exp()
        for j in rows
    ]
    return math.log(sum(map(float, densities)) / len(densities))


@pytest.mark.parametrize("units", [1, 3])
def test_the_mixture_is_the_mean_of_the_densities(units):
    p = random(11, units)
    expected = [brute(p, i, range(11)) for i in range(11)]

    assert p.log_aggregate().tolist() == pytest.approx(expected, rel=1e-10)

    parts = [torch.tensor([4, 0, 7]), torch.tensor([1]), torch.tensor([2, 3, 5, 6, 8, 9, 10])]
    expected = [brute(p, i, next(part for part in parts if i in part).tolist()) for i in range(11)]

    assert p.log_aggregate(parts).tolist() == pytest.approx(expected, rel=1e-10)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    p = random(40, 3)
    expected = p.log_aggregate()

    for block in (1, 160, 10_000):
        monkeypatch.setattr(posteriors, "BLOCK", block)
        torch.testing.assert_close(p.log_aggregate(), expected, rtol=1e-12, atol=1e-12)


def test_no_block_is_larger_than_allowed(monkeypatch):
    monkeypatch.setattr(posteriors, "BLOCK", 100)
    sizes = []

    def spied(name):
        inner = getattr(posteriors, name)

        def density(z, mean, precision):
            sizes.append(len(z) * len(mean) * (z.shape[1] if name == "_direct" else 1))
            return inner(z, mean, precision)

        return density

    for name in ("_expanded", "_direct"):
        monkeypatch.setattr(posteriors, name, spied(name))

    random(20, 3).log_aggregate()
    random(20, 3, spread=1e6).log_aggregate()

    # 20 samples against 20 posteriors: five samples at a time where the quadratic form is expanded,
    # and one at a time where it is not, since its three units count too.
    assert max(sizes) <= 100
    assert len(sizes) == 4 + 20


def test_narrow_posteriors_far_apart_keep_their_digits():
    """The quadratic forms have terms of 1e26 and a sum of order one, which expanding would lose."""
    mean = torch.arange(6.0, dtype=torch.float64)[:, None] * 1e3
    p = drawn(mean.repeat(1, 2), torch.full((6, 2), -46.0))

    torch.testing.assert_close(p.log_aggregate(), p.log_own() - math.log(6), rtol=1e-9, atol=1e-9)
    assert whole_set(p).value == pytest.approx(math.log(6), abs=1e-9)


def test_both_ways_to_take_densities_agree():
    p = random(30, 4)
    precision = torch.exp(-p.log_var)

    torch.testing.assert_close(
        posteriors._expanded(p.z, p.mean, precision),
        posteriors._direct(p.z, p.mean, precision),
        rtol=1e-9,
        atol=1e-9,
    )


def test_a_common_offset_of_all_means_does_not_matter():
    p = random(30, 2)
    moved = Posteriors(p.mean + 1e6, p.log_var, p.z + 1e6)

    torch.testing.assert_close(moved.log_aggregate(), p.log_aggregate(), rtol=1e-6, atol=1e-6)


def test_densities_and_kl_of_every_case():
    p = random(9, 3)
    q = torch.distributions.Normal(p.mean, torch.exp(p.log_var / 2))
    prior = torch.distributions.Normal(torch.zeros_like(p.mean), torch.ones_like(p.mean))

    torch.testing.assert_close(p.log_own(), q.log_prob(p.z).sum(-1))
    torch.testing.assert_close(p.log_prior(), prior.log_prob(p.z).sum(-1))
    torch.testing.assert_close(p.expected_log_own(), -q.entropy().sum(-1))
    torch.testing.assert_close(p.kl(), torch.distributions.kl_divergence(q, prior).sum(-1))


@pytest.mark.parametrize("parts", [[[0, 1], [3]], [[0, 1, 2], [2, 3]], [[0, 1, 2, 3, 3]]])
def test_batches_must_hold_each_case_once(parts):
    with pytest.raises(ValueError, match="each of the 4 cases once"):
        random(4, 1).log_aggregate([torch.tensor(part) for part in parts])


def passes(p, cuts, samples=3):
    """Passes over the cases between neighbouring ``cuts``, one sample each; sample k is z + k."""
    for a, b in pairwise(cuts):
        for first in range(samples):
            z = [(p.z[a:b] + first)[None]]
            yield Pass(
                slice(a, b), first, [], [], z, posterior=Gaussian(p.mean[a:b], p.log_var[a:b])
            )


@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 4, 7)])
def test_gathering_takes_the_first_sample_of_every_case(cuts):
    p = random(7, 2)
    gather = Gather(7)

    for part in reversed(list(passes(p, cuts))):
        gather.add(part)

    got = gather.result()
    assert all(
        torch.equal(a, b) for a, b in ((got.mean, p.mean), (got.log_var, p.log_var), (got.z, p.z))
    )


@pytest.mark.parametrize("cuts", [(0, 3), (3, 7), (0, 3, 2, 7)])
def test_cases_that_are_missing(cuts):
    p = random(7, 2)
    gather = Gather(7)

    for part in passes(p, cuts):
        gather.add(part)

    with pytest.raises(RuntimeError, match="each of the 7 cases once"):
        gather.result()


def test_single_precision_is_not_lost_in_sums():
    """Moments of a float32 model are summed as float64."""
    p = random(7, 2)
    gather = Gather(7)

    for part in passes(Posteriors(p.mean.float(), p.log_var.float(), p.z.float()), (0, 7)):
        gather.add(part)

    assert gather.result().mean.dtype == gather.result().log_var.dtype == torch.float64
    assert log_mixture(p.z, p.mean, p.log_var).dtype == torch.float64
