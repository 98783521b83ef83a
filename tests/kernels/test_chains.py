"""Chains of Boltzmann machines by kernels: bit for bit the plain ones, and with the exact law."""

from __future__ import annotations

import pytest
import torch
from kit.rbms import assert_moments, normal_rbm

from vaebench import kernels
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import Interrupted
from vaebench.estimators.log_z import annealing, tempering
from vaebench.rng import noise
from vaebench.work.steps import Work

pytest.importorskip("numba")

from vaebench.kernels.rbm import RBMKernel

LIMIT = 5.0
"""Largest |z| of one comparison; exceeded by chance once in 1.7 million."""

SIZES = [(16, 16, 1), (17, 100, 33), (100, 31, 40), (64, 48, 7)]
"""(n1, n2, chains). Bits are packed into words: whole ones, a word with a single bit, and more or
fewer words on side 2 than on side 1."""


def float_rbm(n1, n2, scale=1.0, seed=0):
    return normal_rbm(n1=n1, n2=n2, scale=scale, seed=seed, dtype=torch.float32, fan_in=True)


def drawn(kind, sweeps, chains, n1, n2):
    """Noise (u2, u1) of one kind, and the same numbers as floats."""
    shapes = {"u2": (kind, (sweeps, chains, n2)), "u1": (kind, (sweeps, chains, n1))}
    draws = noise.fixed(shapes, 3, "noise")
    of_kind = [noise.taken(draws, name) for name in ("u2", "u1")]
    return of_kind, [u.uniforms() if isinstance(u, noise.Digits) else u for u in of_kind]


def bits(k, n, seed=1):
    return (torch.rand(k, n, generator=torch.Generator().manual_seed(seed)) < 0.5).to(torch.float32)


@pytest.mark.parametrize("kind", ["digits", "uniform"])
@pytest.mark.parametrize(("n1", "n2", "k"), SIZES)
def test_chains_are_the_plain_ones(n1, n2, k, kind):
    """Seven sweeps. Logits differ by rounding, which changes none of these bits."""
    m = float_rbm(n1, n2, scale=2.0)
    z1 = bits(k, n1)
    of_kind, floats = drawn(kind, 7, k, n1, n2)

    for by_kernel, plain in zip(
        RBMKernel(*m).gibbs(z1, *of_kind), m.gibbs(z1, *floats), strict=True
    ):
        assert by_kernel.shape == plain.shape
        assert torch.equal(by_kernel, plain)


def test_machines_take_noise_by_its_digits(monkeypatch):
    """The kernel takes the digits as they are. If it is forbidden, they are put together first; the
    bits are the same."""
    m = float_rbm(40, 20)
    z1 = bits(9, 40)
    digits, floats = drawn("digits", 4, 9, 40, 20)
    plain = m.gibbs(z1, *floats)

    with kernels.use(False):
        assert all(torch.equal(a, b) for a, b in zip(m.gibbs(z1, *digits), plain, strict=True))

    used = []
    monkeypatch.setattr(RBMKernel, "gibbs", lambda self, *a: used.append(a) or plain)
    with kernels.use(True):
        m.gibbs(z1, *digits)

    assert len(used) == 1


# The kernels take sides of 16 to 800 units.
@pytest.mark.parametrize("n", [15, 801])
def test_sides_that_the_kernels_do_not_take_go_the_plain_way(n):
    m = float_rbm(n, 20)
    z1 = bits(3, n)
    digits, floats = drawn("digits", 2, 3, n, 20)

    assert all(
        torch.equal(a, b) for a, b in zip(m.gibbs(z1, *digits), m.gibbs(z1, *floats), strict=True)
    )
    with pytest.raises(ValueError, match=rf"no kernel for couplings \({n}, 20\)"):
        RBMKernel(*m)


@pytest.mark.parametrize("kind", ["digits", "uniform"])
def test_chains_stay_with_the_law_of_their_machine(kind):
    """Three sweeps from exact samples leave all means and pair products of 16 + 17 units as they
    are: 305 z-scores."""
    n1 = 16
    n2 = 17
    k = 40_000
    m = float_rbm(n1, n2, scale=2.0)
    u = torch.rand(k, 1 + n2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    start, _ = boltzmann_exact.sample(m, u[:, 0].float(), u[:, 1:].float())
    of_kind, _ = drawn(kind, 3, k, n1, n2)
    z1, z2 = RBMKernel(*m).gibbs(start, *of_kind)

    assert_moments(m, z1, z2, LIMIT)


def test_bits_that_cannot_be_are_not():
    """Bits of logit +-200 are certain, even with noise at both ends of its range."""
    b = 200.0 * torch.tensor([1.0, -1.0]).repeat(10)
    m = RBM(b, b.flip(0), torch.zeros(20, 20))

    # Upper digits: the least and the largest int16. Lower ones: 1/2 and the least step of 2^-24.
    for high in (-(2**15), 2**15 - 1):
        digits = (
            torch.full((1, 3, 20), high, dtype=torch.int16),
            torch.full((1, 1, 20), 0.5 + 2.0**-24),
        )
        z1, z2 = RBMKernel(*m).gibbs(torch.zeros(3, 20), digits, digits)

        assert torch.equal(z1, (b > 0).float().expand(3, 20))
        assert torch.equal(z2, (b < 0).float().expand(3, 20))


# -------------------------------------------------------------------------------------------- log Z


@pytest.fixture
def worth(monkeypatch):
    """Have kernels taken however little there is to do."""
    monkeypatch.setattr(annealing, "WORTH", 1)
    monkeypatch.setattr(tempering, "WORTH", 1)


def both(estimate):
    """Make the estimate by the kernels, then by the plain code."""
    estimates = []
    for by_kernels in (True, False):
        with kernels.use(by_kernels):
            estimates.append(estimate())

    return estimates


@pytest.mark.parametrize("chains", [30, 700])
@pytest.mark.parametrize("base", ["uniform", "biases"])
@pytest.mark.parametrize("sweeps", [1, 2])
def test_annealing_is_the_plain_one(worth, monkeypatch, chains, base, sweeps):
    """Two machines, annealed up and down, with noise as floats (few chains) and as digits (many),
    end at the same bits."""
    used = []
    weigh = annealing._BitChains.weigh
    monkeypatch.setattr(
        annealing._BitChains,
        "weigh",
        lambda self, *a: used.append(a) or weigh(self, *a),
    )
    m = RBM(
        *(
            torch.stack(p)
            for p in zip(float_rbm(20, 35, 2.0), float_rbm(20, 35, 1.0, seed=1), strict=True)
        )
    )
    reverse_starts = bits(2 * chains, 20).reshape(chains, 2, 20)

    def estimate():
        return annealing.ais(
            m, 8, chains, 0, base=base, sweeps=sweeps, reverse=reverse_starts, keep=True
        )

    by_kernels, plain = both(estimate)

    # Two machines, two directions, eight temperatures: the kernel weighed every step, and the plain
    # code did not use it.
    assert len(used) == 2 * 2 * 8
    assert torch.equal(by_kernels.z1, plain.z1)
    assert torch.equal(by_kernels.z2, plain.z2)
    for name in ("log_w", "value", "error", "ess", "upper", "upper_error"):
        torch.testing.assert_close(
            getattr(by_kernels, name), getattr(plain, name), rtol=1e-4, atol=1e-3, msg=name
        )


@pytest.mark.parametrize("base", ["uniform", "biases"])
def test_log_z_by_kernels_is_the_enumerated_one(worth, base):
    """Annealing from below and from above, and tempering, are within five standard errors."""
    m = float_rbm(16, 20, 2.0)
    exact = boltzmann_exact.log_z(RBM(*(p.double() for p in m)))
    estimate = annealing.ais(m, 100, 500, 0, base=base, reverse=True)

    assert abs(estimate.value - exact) < LIMIT * estimate.error
    assert abs(estimate.upper - exact) < LIMIT * estimate.upper_error

    estimate = tempering.parallel_tempering(m, 60, 50, 0, base=base, pilot=20)
    assert abs(estimate.value - exact) < LIMIT * estimate.error


@pytest.mark.parametrize("base", ["uniform", "biases"])
def test_tempering_is_the_plain_one(worth, base):
    m = float_rbm(20, 35, 3.0)
    by_kernels, plain = both(
        lambda: tempering.parallel_tempering(m, 20, 15, 0, base=base, pilot=10)
    )

    assert torch.equal(by_kernels.temperatures[0].isnan(), plain.temperatures[0].isnan())

    # Not bit for bit: the temperatures are tuned in a pilot, in which rounding errors pass on.
    torch.testing.assert_close(
        by_kernels.temperatures[0], plain.temperatures[0], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(by_kernels.swap_rates[0], plain.swap_rates[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(by_kernels.value, plain.value, rtol=1e-5, atol=1e-3)


# Each machine has five steps up and then five down. The second machine begins at question 10.
@pytest.mark.parametrize("at", [3, 9, 10, 12, 17])
def test_annealing_by_kernels_goes_on_where_it_was_stopped(worth, at):
    """Stopped on the way up or on the way down of either machine, or between the two, an annealing
    that goes on ends at the same bits as one that was never stopped."""
    m = RBM(
        *(torch.stack(p) for p in zip(float_rbm(20, 35), float_rbm(20, 35, seed=1), strict=True))
    )

    def estimate():
        return annealing.ais(
            m, 5, 30, 0, base="uniform", reverse=bits(60, 20).reshape(30, 2, 20), keep=True
        )

    # Stop at question ``at`` + 1, and keep the state of the loops that were open.
    questions = []
    kept = []
    with (
        pytest.raises(Interrupted),
        Work(
            lambda: questions.append(0) or len(questions) > at,
            keep=lambda loops, seconds: kept.extend(loops),
        ),
    ):
        estimate()

    with Work(kept=kept):
        resumed = estimate()
    uninterrupted = estimate()

    assert torch.equal(resumed.value, uninterrupted.value)
    assert torch.equal(resumed.upper, uninterrupted.upper)
    assert torch.equal(resumed.z1, uninterrupted.z1)
    assert torch.equal(resumed.z2, uninterrupted.z2)
