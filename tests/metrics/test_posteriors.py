"""Mutual information, aggregated posterior, active units by means: Gaussian posteriors given outright, no model."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from vaebench.estimators import active_units, posteriors
from vaebench.estimators.active_units import active_means, variances
from vaebench.estimators.aggregate import aggregate_kl
from vaebench.estimators.mutual_information import batches, batchwise, whole_set
from vaebench.estimators.posteriors import Gather, Posteriors, log_mixture
from vaebench.estimators.weights import Pass
from vaebench.models.posterior import Gaussian
from vaebench.protocol.families import FAMILIES

IMAGES, DOCUMENTS = SimpleNamespace(facts=FAMILIES["sbn"]), SimpleNamespace(facts=FAMILIES["text_vae"])
"""Models, as far as batches of cases ask."""

MEANS, SDS = [-1.5, -0.2, 0.1, 0.9, 2.0], [0.4, 0.7, 0.2, 1.1, 0.5]
"""Five overlapping posteriors over one latent, unlike the prior together."""


def drawn(mean, log_var, seed=0):
    """These posteriors, (n, units), with a sample of each."""
    mean, log_var = torch.as_tensor(mean).double(), torch.as_tensor(log_var).double()
    normal = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Posteriors(mean, log_var, mean + torch.exp(log_var / 2) * normal)


def five(copies, seed=0):
    """The five, each ``copies`` times: the mixture of all is that of the five."""
    log_var = 2 * torch.tensor(SDS, dtype=torch.float64).log()
    return drawn(torch.tensor(MEANS).repeat(copies)[:, None], log_var.repeat(copies)[:, None], seed)


def by_quadrature(means, sds):
    """(mutual information, KL(q(z) || p)) of a mixture of one-dimensional posteriors, nats."""
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    mean, sd = torch.tensor(means, dtype=torch.float64)[:, None], torch.tensor(sds, dtype=torch.float64)[:, None]
    each = torch.distributions.Normal(mean, sd).log_prob(z)
    mixture = torch.logsumexp(each, 0) - math.log(len(means))
    prior = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z)
    step = float(z[1] - z[0])
    mi = (each.exp() * (each - mixture)).sum(1).mean() * step
    return float(mi), float((mixture.exp() * (mixture - prior)).sum() * step)


def random(n, units, seed=0, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    mean = spread * torch.randn(n, units, generator=g, dtype=torch.float64)
    return drawn(mean, torch.randn(n, units, generator=g, dtype=torch.float64), seed + 1)


def z_of(values, wanted):
    values = torch.tensor(values, dtype=torch.float64)
    return float((values.mean() - wanted) / (values.std() / len(values) ** 0.5))


# --------------------------------------------------------------------------------------------- densities and the KL


def brute(p, i, rows):
    """log (1/b) sum_j q(z_i | x_j), one density after the other."""
    each = [
        torch.distributions.Normal(p.mean[j], torch.exp(p.log_var[j] / 2)).log_prob(p.z[i]).sum(-1).exp() for j in rows
    ]
    return math.log(sum(map(float, each)) / len(each))


@pytest.mark.parametrize("units", [1, 3])
def test_the_mixture_is_the_mean_of_the_densities(units):
    p = random(11, units)
    wanted = [brute(p, i, range(11)) for i in range(11)]
    assert p.log_aggregate().tolist() == pytest.approx(wanted, rel=1e-10)
    parts = [torch.tensor([4, 0, 7]), torch.tensor([1]), torch.tensor([2, 3, 5, 6, 8, 9, 10])]
    wanted = [brute(p, i, next(part for part in parts if i in part).tolist()) for i in range(11)]
    assert p.log_aggregate(parts).tolist() == pytest.approx(wanted, rel=1e-10)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    p = random(40, 3)
    wanted = p.log_aggregate()
    for block in (1, 160, 10_000):
        monkeypatch.setattr(posteriors, "BLOCK", block)
        torch.testing.assert_close(p.log_aggregate(), wanted, rtol=1e-12, atol=1e-12)


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
    assert max(sizes) <= 100
    assert len(sizes) == 4 + 20


def test_narrow_posteriors_far_apart_keep_their_digits():
    """Terms of 1e26 in the quadratic forms, a sum of order one: expanded, it would be lost."""
    mean = torch.arange(6.0, dtype=torch.float64)[:, None] * 1e3
    p = drawn(mean.repeat(1, 2), torch.full((6, 2), -46.0))
    torch.testing.assert_close(p.log_aggregate(), p.log_own() - math.log(6), rtol=1e-9, atol=1e-9)
    assert whole_set(p).value == pytest.approx(math.log(6), abs=1e-9)


def test_both_ways_to_take_densities_agree():
    p = random(30, 4)
    precision = torch.exp(-p.log_var)
    torch.testing.assert_close(
        posteriors._expanded(p.z, p.mean, precision), posteriors._direct(p.z, p.mean, precision), rtol=1e-9, atol=1e-9
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


# ----------------------------------------------------------------------------------------- mutual information and KL


def test_whole_set_against_quadrature():
    """30 repetitions of 60 copies of five posteriors: Student's t of 29, above 5 once in 40,000 seeds; three of them.

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
    """Every batch a copy of the five: as the whole set. Batches of a pair: the information of that pair; fewer cases.

    As above; two z."""
    pairs = [([0, 1], [2, 3, 4]), ([0, 4], [1, 2, 3])]
    whole = by_quadrature(MEANS, SDS)[0]
    rows = torch.arange(60).reshape(12, 5)
    values = [batchwise(five(12, s), list(rows)).value for s in range(30)]
    assert abs(z_of(values, whole)) < 5
    for first, second in pairs:
        parts = [row[group] for row in rows for group in (first, second)]
        wanted = sum(len(g) / 5 * by_quadrature([MEANS[i] for i in g], [SDS[i] for i in g])[0] for g in (first, second))
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
    """Posteriors far apart: over the set always ln n; by batches ln b, but for the noise of the entropy term."""
    p = drawn(100.0 * torch.arange(96.0)[:, None], torch.zeros(96, 1))
    assert whole_set(p).value == pytest.approx(math.log(96), abs=1e-9)
    for size, ceiling in ((32, math.log(32)), (96, math.log(96)), (60, (60 * math.log(60) + 36 * math.log(36)) / 96)):
        got = batchwise(p, batches(IMAGES, torch.zeros(96, 1), size))
        assert got.ceiling == pytest.approx(ceiling)
        noise = float((p.expected_log_own() - p.log_own()).mean())
        assert got.value == pytest.approx(ceiling + noise, abs=1e-9)
    assert batchwise(p, list(torch.arange(96).split(1))).ceiling == 0


@pytest.mark.parametrize("seed", range(3))
def test_whole_set_never_exceeds_its_ceiling(seed):
    assert whole_set(random(30, 4, seed, spread=30.0)).value <= math.log(30) + 1e-9


def test_posteriors_all_alike():
    """No information: exactly none over the set, none within the error by batches. KL(q(z) || p) is the KL of each."""
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
    n, v = 1000, 0.2
    mean = math.sqrt(1 - v) * torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    p = drawn(mean[:, None], torch.full((n, 1), math.log(v)))
    wanted = -0.5 * math.log(v)  # of two jointly Gaussian variables
    assert abs(whole_set(p).value - wanted) < 4.5 * whole_set(p).error < 0.15
    assert aggregate_kl(p).direct == pytest.approx(0, abs=4e-3)
    assert abs(aggregate_kl(p).value) < 4.5 * aggregate_kl(p).error < 0.15


def test_the_kl_is_the_sum_of_both():
    p = random(60, 3)
    assert whole_set(p).value + aggregate_kl(p).value == pytest.approx(float(p.kl().mean()), rel=1e-10)
    log_q = p.log_aggregate()
    assert (whole_set(p, log_q), aggregate_kl(p, log_q)) == (whole_set(p), aggregate_kl(p))
    assert (whole_set(p, log_q + 1).value, aggregate_kl(p, log_q + 1).direct) == pytest.approx(
        (whole_set(p).value - 1, aggregate_kl(p).direct + 1)
    )


def test_errors_are_honest_where_cases_are_alike():
    """Over 200 seeds the spread is the error that is stated. The spread is known to 5 %: 25 % is 5 errors.

    Cases on a circle, as each sees the same of the others; by batches, all alike."""
    angle = 2 * math.pi * torch.arange(12, dtype=torch.float64) / 12
    mean = torch.stack([angle.cos(), angle.sin()], 1)
    found = []
    for seed in range(200):
        p, same = drawn(mean, torch.full((12, 2), -1.0), seed), drawn(torch.ones(40, 2), torch.ones(40, 2), seed)
        both = aggregate_kl(p)
        mi, parts = whole_set(p), batchwise(same, list(torch.arange(40).split(8)))
        found.append([(mi.value, mi.error), (parts.value, parts.error), (both.value, both.error)])
    value, error = torch.tensor(found).unbind(-1)
    assert (value.std(0) / error.square().mean(0).sqrt()).tolist() == pytest.approx([1.0] * 3, abs=0.25)


def test_the_error_has_differences_between_cases_in_it():
    p = five(100)
    assert whole_set(p).error > torch.tensor([whole_set(five(100, s)).value for s in range(20)]).std() > 0


def test_one_case():
    p = random(1, 2)
    assert whole_set(p).value == pytest.approx(0, abs=1e-12)
    assert whole_set(p).error is None
    assert aggregate_kl(p).error is None


def test_evaluation_batches():
    """Documents of one length share a batch, at most so many; other cases are drawn at random, always the same."""
    lengths = [3, 3, 3, 4, 5, 5]
    x = torch.tensor([[1] * n + [0] * (5 - n) for n in lengths])
    assert [part.tolist() for part in batches(DOCUMENTS, x, 2)] == [[0, 1], [2], [3], [4, 5]]
    parts = [part.tolist() for part in batches(IMAGES, x, 4)]
    assert [len(part) for part in parts] == [4, 2]
    assert sorted(row for part in parts for row in part) == list(range(6))
    assert [part.tolist() for part in batches(IMAGES, x, 4)] == parts


def test_classes_in_the_order_of_a_file_do_not_lower_the_information():
    """Ten classes, one after the other, that are all a code tells: log 10 in the set, and nearly so within batches."""
    mean = 20.0 * torch.arange(10.0, dtype=torch.float64).repeat_interleave(100).unsqueeze(1)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    p = Posteriors(mean, torch.zeros_like(mean), mean + noise)
    parts = batches(IMAGES, mean, 50)
    assert batchwise(p, parts).value == pytest.approx(math.log(10), abs=0.15)
    in_order = list(torch.arange(1000).split(50))
    assert batchwise(p, in_order).value == pytest.approx(0, abs=0.1), "what batches in order would give"


# --------------------------------------------------------------------------------------------- means, and gathering


def test_active_units_by_hand(monkeypatch):
    """Variance of 0 and 1: 1/2 with n - 1 degrees of freedom, 1/4 with n. At the threshold a unit is active."""
    mean = torch.tensor([[0.0, 0.0, 5.0], [1.0, 0.99, 5.0]])
    assert variances(mean).tolist() == pytest.approx([0.5, 0.5 * 0.99**2, 0.0])
    monkeypatch.setattr(active_units, "THRESHOLD", 0.5)
    assert active_means(mean) == 1
    monkeypatch.setattr(active_units, "THRESHOLD", 0.25)
    assert active_means(mean) == 2


def test_the_threshold_is_that_of_the_paper():
    a = math.sqrt(0.01 / 2)
    assert active_means(torch.tensor([[1.001 * a, 0.999 * a, 0.0], [-1.001 * a, -0.999 * a, 0.0]])) == 1


def passes(p, cuts, samples=3):
    for a, b in pairwise(cuts):
        for first in range(samples):
            z = [(p.z[a:b] + first)[None]]
            yield Pass(slice(a, b), first, [], [], z, posterior=Gaussian(p.mean[a:b], p.log_var[a:b]))


@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 4, 7)])
def test_gathering_takes_the_first_sample_of_every_case(cuts):
    p, out = random(7, 2), Gather(7)
    for part in reversed(list(passes(p, cuts))):
        out.add(part)
    got = out.result()
    assert all(torch.equal(a, b) for a, b in ((got.mean, p.mean), (got.log_var, p.log_var), (got.z, p.z)))


@pytest.mark.parametrize("cuts", [(0, 3), (3, 7), (0, 3, 2, 7)])
def test_cases_that_are_missing(cuts):
    p, out = random(7, 2), Gather(7)
    for part in passes(p, cuts):
        out.add(part)
    with pytest.raises(RuntimeError, match="each of the 7 cases once"):
        out.result()


def test_single_precision_is_not_lost_in_sums():
    """Moments of a float32 model are summed as float64."""
    p, out = random(7, 2), Gather(7)
    for part in passes(Posteriors(p.mean.float(), p.log_var.float(), p.z.float()), (0, 7)):
        out.add(part)
    assert out.result().mean.dtype == out.result().log_var.dtype == torch.float64
    assert log_mixture(p.z, p.mean, p.log_var).dtype == torch.float64
