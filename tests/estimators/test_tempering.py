"""log Z by tempering: against enumeration, with an honest error, and temperatures only where they
are needed."""

from __future__ import annotations

import pytest
import torch
from kit.rbms import LIMIT, normal_rbm, two_modes

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z import tempering


def test_tempering_of_two_modes_that_a_single_chain_never_joins():
    m = two_modes(tilt=0.1)
    k = 200
    exact = boltzmann_exact.moments(m)
    u2, u1 = torch.rand(
        2, 60, k, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    z1, _ = m.gibbs(torch.zeros(k, 6).double(), u2, u1)

    # Most of the mass is at the ones, but sweeps from the zeros never reach them.
    assert float(exact.mean1[0]) > 0.75
    assert float(z1.mean()) < 0.05

    got = logz.parallel_tempering(m, 150, 60, 0, base="uniform")
    assert abs(float((got.value - exact.log_z) / got.error)) < LIMIT
    assert float(got.error) < 0.1
    assert len(got.temperatures[0]) >= 4

    single = -float(m.free_energy1(torch.zeros(1, 6).double()))
    # log Z of the mode of zeros alone would be seen to be too low.
    assert float(exact.log_z) - single > 10 * float(got.error)


def test_the_error_of_tempering_is_honest():
    """120 z, of 40 machines from 3 bases, each by a jackknife over 40 ladders, so with a tail like
    that of t with 39 degrees of freedom. Their variance is outside the limits by chance once in
    50,000 seeds, their mean once in 100,000. An error 1.5 times too large would give 0.44."""
    m = normal_rbm(40, n1=3, n2=4, scale=1.5, seed=8)
    expected = logz.exact(m).value
    z = []

    for seed, base in enumerate(("uniform", "biases", (torch.ones(3), -torch.ones(4)))):
        got = logz.parallel_tempering(m, 15, 40, seed, base=base, pilot=10, burn=2)
        z.append((got.value - expected) / got.error)
        assert (got.error < 0.2).all()
        assert (got.error > 0).all()

    z = torch.cat(z)
    assert 0.55 < float(z.var()) < 1.8
    assert float(z.mean()) == pytest.approx(0.0, abs=0.42)


def test_neighbours_exchange_within_the_band():
    m = two_modes()
    got = logz.parallel_tempering(m, 40, 60, 0, base="uniform", band=(0.5, 0.8))
    (rates,) = got.swap_rates
    (t,) = got.temperatures

    assert len(t) == len(rates) + 1 > 4
    assert (t.diff() > 0).all()
    assert (float(t[0]), float(t[-1])) == (0.0, 1.0)
    assert rates.min() > 0.4  # pilot runs see them with an error
    assert rates.max() < 0.9


def test_exchanges_keep_the_distribution_and_carry_states_along():
    """Samples at t = 1 of all ladders have the right share of the mode of ones, to which only
    exchanges lead."""
    m = two_modes(n=4, tilt=0.05)
    ladder = tempering._Ladder(
        m, m._replace(b1=m.b1 * 0, b2=m.b2 * 0, w=m.w * 0), 400, torch.Generator().manual_seed(0)
    )

    ladder.place(0.4, 0.8, 20)

    for i in range(60):
        ladder.step(i)

    share = ladder.z1[:, -1].mean(0)
    p = boltzmann_exact.moments(m).mean1

    assert ((share - p) / (p * (1 - p) / 400).sqrt()).abs().max() < LIMIT


def test_temperatures_that_are_not_needed_go():
    m = normal_rbm(n1=4, n2=3, scale=0.5, seed=10)
    ladder = tempering._Ladder(m, m._replace(w=m.w * 0), 50, torch.Generator().manual_seed(0))
    ladder.t = torch.linspace(0, 1, 20, dtype=torch.float64)
    ladder.z1 = ladder.z1[:, :1].expand(-1, 20, -1)
    ladder.heat()
    ladder.place(0.4, 0.8, 10)

    assert len(ladder.t) <= 3


def test_bridge_between_gaussians():
    """If u is normal with mean a and variance v below, it has the mean a + v above, and log Z' / Z
    is a + v / 2."""
    g = torch.Generator().manual_seed(0)
    a = torch.tensor([0.5, -30.0])
    v = torch.tensor([1.0, 4.0])
    draws = torch.randn(2, 50_000, 2, generator=g, dtype=torch.float64) * v.sqrt()

    got = tempering.bennett(draws[0] + a, draws[1] + a + v)

    assert torch.allclose(got, (a + v / 2).double(), atol=0.03)

    constant = torch.full((4, 1), 1.25, dtype=torch.float64)
    assert float(tempering.bennett(constant, constant)) == pytest.approx(1.25, abs=1e-15)


def test_temperatures_share_the_barrier():
    t = torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64)

    # Rejections of .8 and .4 sum to 1.2, which is 0.4 for each of three pairs.
    got = tempering.respaced(t, torch.tensor([0.2, 0.6], dtype=torch.float64), 0.6)

    assert torch.allclose(got, torch.tensor([0.0, 0.1, 0.2, 1.0], dtype=torch.float64))
    assert tempering.respaced(t, torch.ones(2, dtype=torch.float64), 0.6).tolist() == [0.0, 1.0]


def test_tempering_depends_on_position_only():
    m = normal_rbm(2, n1=4, n2=3)
    expected = logz.parallel_tempering(m, 10, 5, 0, pilot=6)
    alone = logz.parallel_tempering(RBM(*(p[1] for p in m)), 10, 5, 0, pilot=6, first=1)

    assert expected.value.shape == expected.error.shape == (2,)
    assert alone.value.shape == ()
    assert float(alone.value) == pytest.approx(float(expected.value[1]), abs=1e-12)
    assert (
        logz.parallel_tempering(m.to(torch.float32), 10, 5, 0, pilot=6).value.dtype == torch.float64
    )
