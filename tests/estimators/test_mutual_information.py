"""Mutual information and the aggregated posterior: against quadrature, their
ceilings, errors and batches."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from kit.gaussian_posteriors import MEANS, SDS, by_quadrature, drawn, five, random, z_of

from vaebench.estimators.aggregate import aggregate_kl
from vaebench.estimators.mutual_information import batches, batchwise, whole_set
from vaebench.estimators.posteriors import Posteriors
from vaebench.protocol.families import FAMILIES

IMAGES = SimpleNamespace(facts=FAMILIES["sbn"])
DOCUMENTS = SimpleNamespace(facts=FAMILIES["text_vae"])
"""Models, as far as batches of cases ask."""


def test_whole_set_against_quadrature():
    """30 repetitions of 60 copies of five posteriors: Student's t of 29, above 5 once in 40,000
    seeds; three of them.

    The errors are small against the numbers, so being close means something."""
    mi, kl = by_quadrature(MEANS, SDS)
    each = [five(60, seed) for seed in range(30)]
    for values, wanted in (
        ([whole_set(p).value for p in each], mi),
        ([aggregate_kl(p).value for p in each], kl),
        ([aggregate_kl(p).direct for p in each], kl),
    ):
        assert abs(z_of(values, wanted)) < 5
        assert torch.tensor(values).std() / 30**0.5 < 0.02
    assert mi > 0.7
    assert kl > 0.2


def test_batches_against_quadrature():
    """Every batch a copy of the five: as the whole set. Batches of a pair: the information of that
    pair; fewer cases.

    As above; two z."""
    pairs = [([0, 1], [2, 3, 4]), ([0, 4], [1, 2, 3])]
    whole = by_quadrature(MEANS, SDS)[0]
    rows = torch.arange(60).reshape(12, 5)
    values = [batchwise(five(12, s), list(rows)).value for s in range(30)]
    assert abs(z_of(values, whole)) < 5
    for first, second in pairs:
        parts = [row[group] for row in rows for group in (first, second)]
        wanted = sum(
            len(g) / 5 * by_quadrature([MEANS[i] for i in g], [SDS[i] for i in g])[0]
            for g in (first, second)
        )
        values = [batchwise(five(12, s), parts).value for s in range(30)]
        assert abs(z_of(values, wanted)) < 5
        assert whole - sum(values) / 30 > 0.2


def test_one_batch_of_all_is_the_whole_set():
    """The first term apart, which is exact in one and sampled in the other."""
    p = random(50, 2)
    got = batchwise(p, [torch.randperm(50, generator=torch.Generator().manual_seed(0))])
    wanted = whole_set(p).value - float((p.log_own() - p.expected_log_own()).mean())
    assert got.value == pytest.approx(wanted, rel=1e-10)
    assert got.ceiling == whole_set(p).ceiling == pytest.approx(math.log(50))


def test_the_ceiling_is_the_log_of_the_batch():
    """Posteriors far apart: over the set always ln n; by batches ln b, but for the
    noise of the entropy term."""
    p = drawn(100.0 * torch.arange(96.0)[:, None], torch.zeros(96, 1))
    assert whole_set(p).value == pytest.approx(math.log(96), abs=1e-9)
    for size, ceiling in (
        (32, math.log(32)),
        (96, math.log(96)),
        (60, (60 * math.log(60) + 36 * math.log(36)) / 96),
    ):
        got = batchwise(p, batches(IMAGES, torch.zeros(96, 1), size))
        assert got.ceiling == pytest.approx(ceiling)
        noise = float((p.expected_log_own() - p.log_own()).mean())
        assert got.value == pytest.approx(ceiling + noise, abs=1e-9)
    assert batchwise(p, list(torch.arange(96).split(1))).ceiling == 0


@pytest.mark.parametrize("seed", range(3))
def test_whole_set_never_exceeds_its_ceiling(seed):
    assert whole_set(random(30, 4, seed, spread=30.0)).value <= math.log(30) + 1e-9


def test_posteriors_all_alike():
    """No information: exactly none over the set, none within the error by batches. KL(q(z) || p) is
    the KL of each."""
    p = drawn(torch.full((1000, 2), 0.4), torch.full((1000, 2), -0.5))
    assert whole_set(p).value == pytest.approx(0, abs=1e-10)
    assert whole_set(p).error == pytest.approx(0, abs=1e-10)
    got = batchwise(p, list(torch.arange(1000).split(32)))
    assert abs(got.value) < 4.5 * got.error < 0.2
    kl = aggregate_kl(p)
    assert kl.value == pytest.approx(float(p.kl()[0]), abs=1e-10)
    assert abs(kl.direct - kl.value) < 4.5 * kl.direct_error < 0.2


def test_a_mixture_that_is_the_prior():
    """Means N(0, 1 - v), variances v: q(z) is nearly N(0, 1), and the KL is all information."""
    n = 1000
    v = 0.2
    mean = math.sqrt(1 - v) * torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    p = drawn(mean[:, None], torch.full((n, 1), math.log(v)))
    wanted = -0.5 * math.log(v)  # of two jointly Gaussian variables
    assert abs(whole_set(p).value - wanted) < 4.5 * whole_set(p).error < 0.15
    assert aggregate_kl(p).direct == pytest.approx(0, abs=4e-3)
    assert abs(aggregate_kl(p).value) < 4.5 * aggregate_kl(p).error < 0.15


def test_the_kl_is_the_sum_of_both():
    p = random(60, 3)
    assert whole_set(p).value + aggregate_kl(p).value == pytest.approx(
        float(p.kl().mean()), rel=1e-10
    )
    log_q = p.log_aggregate()
    assert (whole_set(p, log_q), aggregate_kl(p, log_q)) == (whole_set(p), aggregate_kl(p))
    assert (whole_set(p, log_q + 1).value, aggregate_kl(p, log_q + 1).direct) == pytest.approx(
        (whole_set(p).value - 1, aggregate_kl(p).direct + 1)
    )


def test_errors_are_honest_where_cases_are_alike():
    """Over 200 seeds the spread is the error that is stated. The spread is known to
    5 %: 25 % is 5 errors.

    Cases on a circle, as each sees the same of the others; by batches, all alike."""
    angle = 2 * math.pi * torch.arange(12, dtype=torch.float64) / 12
    mean = torch.stack([angle.cos(), angle.sin()], 1)
    found = []
    for seed in range(200):
        p = drawn(mean, torch.full((12, 2), -1.0), seed)
        same = drawn(torch.ones(40, 2), torch.ones(40, 2), seed)
        both = aggregate_kl(p)
        mi = whole_set(p)
        parts = batchwise(same, list(torch.arange(40).split(8)))
        found.append([(mi.value, mi.error), (parts.value, parts.error), (both.value, both.error)])
    value, error = torch.tensor(found).unbind(-1)
    assert (value.std(0) / error.square().mean(0).sqrt()).tolist() == pytest.approx(
        [1.0] * 3, abs=0.25
    )


def test_the_error_has_differences_between_cases_in_it():
    p = five(100)
    assert (
        whole_set(p).error
        > torch.tensor([whole_set(five(100, s)).value for s in range(20)]).std()
        > 0
    )


def test_one_case():
    p = random(1, 2)
    assert whole_set(p).value == pytest.approx(0, abs=1e-12)
    assert whole_set(p).error is None
    assert aggregate_kl(p).error is None


def test_evaluation_batches():
    """Documents of one length share a batch, at most so many; other cases are drawn at random,
    always the same."""
    lengths = [3, 3, 3, 4, 5, 5]
    x = torch.tensor([[1] * n + [0] * (5 - n) for n in lengths])
    assert [part.tolist() for part in batches(DOCUMENTS, x, 2)] == [[0, 1], [2], [3], [4, 5]]
    parts = [part.tolist() for part in batches(IMAGES, x, 4)]
    assert [len(part) for part in parts] == [4, 2]
    assert sorted(row for part in parts for row in part) == list(range(6))
    assert [part.tolist() for part in batches(IMAGES, x, 4)] == parts


def test_classes_in_the_order_of_a_file_do_not_lower_the_information():
    """Ten classes, one after the other, that are all a code tells: log 10 in the set, and nearly so
    within batches."""
    mean = 20.0 * torch.arange(10.0, dtype=torch.float64).repeat_interleave(100).unsqueeze(1)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    p = Posteriors(mean, torch.zeros_like(mean), mean + noise)
    parts = batches(IMAGES, mean, 50)
    assert batchwise(p, parts).value == pytest.approx(math.log(10), abs=0.15)
    in_order = list(torch.arange(1000).split(50))
    assert batchwise(p, in_order).value == pytest.approx(0, abs=0.1), (
        "what batches in order would give"
    )
