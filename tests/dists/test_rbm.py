"""Boltzmann machines: energies, conditionals, sweeps and log Z against explicit loops and
tables of every state."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from kit import draws
from kit.rbms import normal_rbm
from torch.func import grad, vmap

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM, bits

LIMIT = 4.75
"""|z| of one comparison; exceeded by chance once in 490,000, so about once in 500 seeds
by any of this file's."""


small_rbm = partial(normal_rbm, n1=4, n2=3)
uniform = partial(draws.uniform, seed=1)  # RBMs are drawn with seed 0


def random_bits(*shape, seed=2):
    return (uniform(*shape, seed=seed) < 0.5).double()


def loop_energy(m, z1, z2):
    """-E of a single machine and a single state, term by term."""
    total = sum(float(a * b) for a, b in zip(m.b1, z1, strict=True))
    total += sum(float(a * b) for a, b in zip(m.b2, z2, strict=True))
    pairs = itertools.product(range(len(z1)), range(len(z2)))
    return total + sum(float(z1[i] * m.w[i, j] * z2[j]) for i, j in pairs)


def one(m, *index):
    return RBM(*(p[index] for p in m))


def table(m):
    """log p of every state of a single machine, by loops alone.

    Returns:
        log p, (2^n1, 2^n2); log Z; the states of both sides, (2^n1, n1) and (2^n2, n2).
    """
    sides = [
        [torch.tensor(s).double() for s in itertools.product((0.0, 1.0), repeat=n)]
        for n in m.w.shape
    ]
    energy = torch.tensor(
        [[loop_energy(m, z1, z2) for z2 in sides[1]] for z1 in sides[0]], dtype=torch.float64
    )
    log_z = torch.logsumexp(energy.flatten(), 0)

    return energy - log_z, log_z, torch.stack(sides[0]), torch.stack(sides[1])


def number(z):
    """Position of the states z (..., n) in ``table``, whose first unit is the most significant."""
    return (z.long() * 2 ** torch.arange(z.shape[-1] - 1, -1, -1)).sum(-1)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("values", [random_bits, uniform])
def test_energy(batch, values):
    m = small_rbm(*batch)
    z1 = values(5, *batch, 4, seed=3)
    z2 = values(5, *batch, 3, seed=4)
    energies = m.negative_energy(z1, z2)

    assert energies.shape == (5, *batch)

    for index in itertools.product(range(5), *map(range, batch)):
        wanted = loop_energy(one(m, *index[1:]), z1[index], z2[index])
        assert float(energies[index]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("batch", [(), (2, 2)])
def test_conditionals_and_free_energies(batch):
    m = small_rbm(*batch)
    for index in itertools.product(*map(range, batch)):
        log_p, log_z, all1, all2 = table(one(m, *index))

        # Every state of one side, for all machines of the batch at once.
        given1 = all1.reshape(-1, *(1 for _ in batch), 4).expand(-1, *batch, -1)
        given2 = all2.reshape(-1, *(1 for _ in batch), 3).expand(-1, *batch, -1)

        place = (slice(None), *index)

        # p(z2 | z1) and p(z1 | z2), rows of the table normalised.
        p2 = torch.softmax(log_p, 1)
        p1 = torch.softmax(log_p.T, 1)

        assert torch.allclose(m.mean2(given1)[place], p2 @ all2, atol=1e-12)
        assert torch.allclose(m.mean1(given2)[place], p1 @ all1, atol=1e-12)
        assert torch.allclose(m.logits2(given1)[place], torch.logit(p2 @ all2), atol=1e-10)
        assert torch.allclose(m.logits1(given2)[place], torch.logit(p1 @ all1), atol=1e-10)
        assert torch.allclose(
            -m.free_energy1(given1)[place], torch.logsumexp(log_p, 1) + log_z, atol=1e-11
        )
        assert torch.allclose(
            -m.swap().free_energy1(given2)[place], torch.logsumexp(log_p, 0) + log_z, atol=1e-11
        )


def test_swapped_sides():
    m = small_rbm(2)
    z1 = random_bits(5, 2, 4)
    z2 = random_bits(5, 2, 3)
    assert torch.allclose(m.swap().negative_energy(z2, z1), m.negative_energy(z1, z2))


def test_samples_without_the_batch_are_refused():
    with pytest.raises(
        ValueError, match=r"\(5, 4\) of RBMs \(2,\) need the shape \(k, \*batch, n\)"
    ):
        small_rbm(2).logits2(random_bits(5, 4))


@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (4, 3), (3, 4), (2, 5)])
@pytest.mark.parametrize("chunk", [None, 24, 1])
def test_log_z_and_moments(n1, n2, chunk):
    """``chunk`` 1 takes one state at a time."""
    m = small_rbm(2, n1=n1, n2=n2, scale=2.0)
    log_z = boltzmann_exact.log_z(m, chunk)
    moments = boltzmann_exact.moments(m, chunk)

    for i in range(2):
        # log Z, E[z1], E[z2] and E[z1 z2'] from the table.
        log_p, wanted, all1, all2 = table(one(m, i))
        p = log_p.exp()
        expected = (wanted, p.sum(1) @ all1, p.sum(0) @ all2, all1.T @ p @ all2)

        assert float(log_z[i]) == pytest.approx(float(wanted), abs=1e-11)
        assert all(
            torch.allclose(a[i], b, atol=1e-11) for a, b in zip(moments, expected, strict=True)
        )


def test_either_side_enumerated_gives_the_same():
    m = small_rbm(n1=6, n2=6)
    assert float(boltzmann_exact.log_z(m)) == pytest.approx(
        float(boltzmann_exact.log_z(m.swap())), abs=1e-11
    )

    # In a batch of one it is the same machine.
    assert float(boltzmann_exact.log_z(m)) == pytest.approx(
        float(boltzmann_exact.log_z(small_rbm(1, n1=6, n2=6))[0]), abs=1e-12
    )


@pytest.mark.parametrize(("n1", "n2"), [(4, 3), (3, 4)])
@pytest.mark.parametrize("chunk", [None, 24, 1])
def test_gradient_of_log_z_is_the_expected_statistics(n1, n2, chunk):
    m = small_rbm(2, n1=n1, n2=n2)

    # Different weights: the machines must not mix.
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64)

    def total(*parts):
        return (boltzmann_exact.log_z(RBM(*parts), chunk) * weight).sum()

    wanted = boltzmann_exact.moments(m)[1:]
    got = torch.autograd.grad(total(*(leaves := [p.clone().requires_grad_() for p in m])), leaves)

    for a, b in zip(got, wanted, strict=True):
        assert torch.allclose(a, b * weight.reshape(2, *(1 for _ in b.shape[1:])), atol=1e-11)

    # By functorch, too.
    for a, b in zip(grad(total, argnums=(0, 1, 2))(*m), got, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_log_z_has_second_derivatives_when_states_fit_into_a_chunk():
    m = small_rbm(n1=2, n2=2)
    assert torch.autograd.gradgradcheck(
        lambda *p: boltzmann_exact.log_z(RBM(*p)), [p.clone().requires_grad_() for p in m]
    )


def test_log_z_of_strong_machines_in_single_precision():
    m = small_rbm(n1=5, n2=6, scale=40.0)

    # Couplings so strong that exp of an energy overflows float32.
    assert float(boltzmann_exact.log_z(m)) > 100
    assert float(boltzmann_exact.log_z(m.to(torch.float32))) == pytest.approx(
        float(boltzmann_exact.log_z(m)), rel=1e-6
    )
    assert all(torch.isfinite(p).all() for p in boltzmann_exact.moments(m.to(torch.float32)))


def test_sizes_beyond_enumeration():
    m = RBM(torch.zeros(21), torch.zeros(22), torch.zeros(21, 22))

    def sample(m):
        return boltzmann_exact.sample(m, uniform(2), uniform(2, 22))

    for call in (boltzmann_exact.log_z, boltzmann_exact.moments, sample):
        with pytest.raises(ValueError, match=r"21 \+ 22 units cannot be enumerated; allowed: 20"):
            call(m)

    with pytest.raises(ValueError, match="16 in total"):
        boltzmann_exact.log_probs(small_rbm(n1=9, n2=8))
    with pytest.raises(ValueError, match="a side of 17 units cannot be tabulated; allowed: 16"):
        boltzmann_exact.sample(small_rbm(n1=17, n2=17), uniform(2), uniform(2, 17))


def test_the_table_of_all_states():
    m = small_rbm(3)
    z1, z2, log_p = boltzmann_exact.log_probs(m)

    assert log_p.shape == (128, 3)
    assert len({tuple(r) for r in torch.cat([z1, z2], 1).tolist()}) == 128

    wanted, _, _, _ = table(one(m, 1))
    assert torch.allclose(log_p[:, 1], wanted[number(z1), number(z2)], atol=1e-11)


def test_bits():
    u = uniform(200, 1)
    logit = torch.linspace(-8, 8, 50, dtype=torch.float64)

    assert torch.equal(bits(logit, u), (u > 1 - torch.sigmoid(logit)).double())

    # On average over evenly spread noise a bit has its probability, to the spacing of the noise.
    noise = (torch.arange(10_000, dtype=torch.float64)[:, None] + 0.5) / 10_000
    assert torch.allclose(bits(logit, noise).mean(0), torch.sigmoid(logit), atol=1.01e-4)


def test_bits_in_single_precision():
    logit = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    largest = torch.tensor(1 - 2**-24)

    assert bits(logit, torch.tensor(0.5)).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert bits(logit, largest).tolist() == [0, 0, 0, 1, 1, 1, 1]

    # 2e-9 of the noise below: 1 - sigmoid(20) would round to zero, and u = 1e-9 be called a one.
    assert bits(torch.tensor([20.0, 22.0]), torch.tensor(1e-9)).tolist() == [0, 1]
    assert bits(logit.half(), torch.tensor(0.5)).dtype == torch.float16
    assert not bits(logit.requires_grad_(), torch.tensor(0.5)).requires_grad


def frequencies(counts, p, draws):
    """Largest |z| of frequencies against their probabilities."""
    return ((counts / draws - p) / (p * (1 - p) / draws).sqrt()).abs().max()


def test_a_sweep_draws_from_the_conditionals_and_leaves_the_distribution_as_it_is():
    """From each of 8 states of side 1, all 64 outcomes (z1', z2) with probability
    p(z2 | z1) p(z1' | z2)."""
    m = small_rbm(n1=3, n2=3, scale=0.3, seed=4)
    draws = 60_000

    log_p, _, all1, _ = table(m)
    p2 = torch.softmax(log_p, 1)  # (z1, z2)
    p1 = torch.softmax(log_p.T, 1)  # (z2, z1')

    # All 8 states of side 1, ``draws`` chains from each.
    start = all1.repeat_interleave(draws, 0)
    z1, z2 = m.sweep(start, uniform(8 * draws, 3, seed=6), uniform(8 * draws, 3, seed=7))

    # How often each transition (z1, z2, z1') was made.
    counts = torch.bincount(
        (number(start) * 8 + number(z2)) * 8 + number(z1), minlength=512
    ).reshape(8, 8, 8)
    kernel = p2[:, :, None] * p1[None]

    # Enough for frequencies to be normal.
    assert (kernel * draws).min() > 100
    assert frequencies(counts, kernel, draws) < LIMIT

    # The exact kernel leaves the marginal of side 1, and the joint law after it, in place.
    marginal = log_p.exp().sum(1)
    assert torch.allclose(torch.einsum("a,abc->c", marginal, kernel), marginal, atol=1e-12)
    assert torch.allclose(torch.einsum("a,abc->cb", marginal, kernel), log_p.exp(), atol=1e-12)


@pytest.mark.parametrize(("n1", "n2"), [(3, 4), (4, 3), (3, 3)])
def test_exact_samples(n1, n2):
    m = small_rbm(2, n1=n1, n2=n2, seed=8)
    draws = 40_000

    z1, z2 = boltzmann_exact.sample(m, uniform(draws, 2), uniform(draws, 2, max(n1, n2), seed=9))

    assert (z1.shape, z2.shape) == ((draws, 2, n1), (draws, 2, n2))

    for i in range(2):
        log_p, _, _, _ = table(one(m, i))
        counts = torch.bincount(
            number(z1[:, i]) * 2**n2 + number(z2[:, i]), minlength=2 ** (n1 + n2)
        )

        assert frequencies(counts, log_p.exp().flatten(), draws) < LIMIT


def test_the_ends_of_the_noise_are_exact_samples_too():
    m = small_rbm(n1=3, n2=3)
    z1, _ = boltzmann_exact.sample(m, torch.tensor([0.0, 1.0]), uniform(2, 3))

    assert z1.tolist() == [[0, 0, 0], [1, 1, 1]]

    # All but the last state: probability 0.
    all_on = RBM(torch.full((3,), 2000.0), torch.zeros(3), torch.zeros(3, 3))
    assert boltzmann_exact.sample(all_on, torch.tensor([0.0, 0.5]), uniform(2, 3))[0].tolist() == [
        [1, 1, 1],
        [1, 1, 1],
    ]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_gibbs_is_one_sweep_after_the_other(batch):
    m = small_rbm(*batch)
    s = 4
    k = 6
    z1 = random_bits(k, *batch, 4)
    u2 = uniform(s, k, *batch, 3)
    u1 = uniform(s, k, *batch, 4, seed=3)
    ends = m.gibbs(z1, u2, u1)

    # Sweep by sweep: side 2 given side 1, then side 1.
    for i in range(s):
        z2 = bits(m.logits2(z1), u2[i])
        z1 = bits(m.logits1(z2), u1[i])

    assert torch.equal(ends[0], z1)
    assert torch.equal(ends[1], z2)

    # Chains that stand still at all zeros or ones would agree anyway.
    assert 0.2 < float(z1.mean()) < 0.8


def test_batched_machines_are_machines_one_by_one():
    m = small_rbm(2, 3)
    z1 = random_bits(5, 2, 3, 4)
    u2 = uniform(4, 5, 2, 3, 3)
    u1 = uniform(4, 5, 2, 3, 4, seed=3)
    ends = m.gibbs(z1, u2, u1)

    for i, j in itertools.product(range(2), range(3)):
        # The chains of one machine, with their noise.
        alone = one(m, i, j).gibbs(z1[:, i, j], u2[:, :, i, j], u1[:, :, i, j])
        assert all(torch.equal(a[:, i, j], b) for a, b in zip(ends, alone, strict=True))
        assert float(boltzmann_exact.log_z(m)[i, j]) == pytest.approx(
            float(boltzmann_exact.log_z(one(m, i, j))), abs=1e-12
        )


def test_gibbs_lets_no_gradient_through_and_keeps_its_inputs():
    m = small_rbm()
    z1 = random_bits(5, 4)
    u2 = uniform(2, 5, 3)
    u1 = uniform(2, 5, 4, seed=3)
    before = [t.clone() for t in (z1, u2, u1)]
    z = RBM(*(p.requires_grad_() for p in m)).gibbs(z1.requires_grad_(), u2, u1)

    assert not any(t.requires_grad for t in z)
    assert all(torch.equal(a, b) for a, b in zip(before, (z1, u2, u1), strict=True))


@pytest.mark.parametrize("noise", [(0, 0), (2, 3)])
def test_noise_for_no_or_unequal_sweeps(noise):
    with pytest.raises(ValueError, match=f"noise for {noise[0]} and {noise[1]} sweeps"):
        small_rbm().gibbs(random_bits(5, 4), uniform(noise[0], 5, 3), uniform(noise[1], 5, 4))


def seeds_of(s=3, k=5, sweeps=2, batch=()):
    return (
        small_rbm(s, *batch),
        random_bits(s, k, *batch, 4),
        uniform(s, sweeps, k, *batch, 3),
        uniform(s, sweeps, k, *batch, 4, seed=3),
    )


def chain(m, z1, u2, u1):
    return (*m.gibbs(z1, u2, u1), boltzmann_exact.log_z(m))


@pytest.mark.parametrize(("batch", "compiled"), [((), False), ((2,), False), ((2,), True)])
def test_over_seeds(batch, compiled):
    """Compiled is traced only: 'aot_eager' makes no code. A missing batching rule would
    warn, which fails here."""
    m, *rest = seeds_of(batch=batch)
    call = vmap(chain)
    if compiled:
        call = torch.compile(call, backend="aot_eager", fullgraph=True, dynamic=False)

    packed = call(m, *rest)
    for i in range(3):
        alone = chain(one(m, i), *(t[i] for t in rest))
        assert all(torch.allclose(a[i], b, atol=1e-12) for a, b in zip(packed, alone, strict=True))


def test_one_machine_for_all_seeds():
    m = small_rbm()
    _, z1, u2, u1 = seeds_of()
    packed = vmap(chain, in_dims=(None, None, 0, 0))(m, z1[0], u2, u1)
    assert all(torch.equal(packed[0][i], m.gibbs(z1[0], u2[i], u1[i])[0]) for i in range(3))


def test_a_chain_forgets_where_it_began():
    """After 30 sweeps of a mild machine 20,000 chains from all zeros show E[z1
    z2']; |z| of 12 entries. After one sweep they do not."""
    m = small_rbm(n1=4, n2=3, seed=11)
    k = 20_000
    p = boltzmann_exact.moments(m).mean12

    def worst(sweeps):
        z1, z2 = m.gibbs(
            torch.zeros(k, 4).double(),
            uniform(sweeps, k, 3, seed=12),
            uniform(sweeps, k, 4, seed=13),
        )

        # Means of products of bits, by the variance of one.
        return ((z1.T @ z2 / k - p) / (p * (1 - p) / k).sqrt()).abs().max()

    assert worst(30) < LIMIT
    assert worst(1) > 2 * LIMIT
