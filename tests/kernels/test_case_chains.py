"""Chains of many machines by the kernel: bit for bit the plain ones, and with the exact law."""

from __future__ import annotations

import pytest
import torch
from kit import draws
from kit.rbms import assert_moments, normal_rbm

from vaebench import kernels
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM

pytest.importorskip("numba")

from vaebench.kernels import case_chains

LIMIT = 5.0
"""Largest |z| of one comparison; exceeded by chance once in 1.7 million."""


def float_rbms(batch, n1, n2, scale=1.0):
    return normal_rbm(batch, n1=n1, n2=n2, scale=scale, dtype=torch.float32, fan_in=True)


def uniform(*shape, seed=1):
    return draws.uniform(*shape, seed=seed, dtype=torch.float32).clamp_(min=2.0**-25)


@pytest.mark.parametrize(
    ("batch", "n1", "n2", "k"), [(1, 1, 2, 1), (5, 17, 23, 3), (4, 32, 16, 2), (3, 100, 31, 1)]
)
def test_chains_are_the_plain_ones(batch, n1, n2, k):
    """Seven sweeps. Logits differ by rounding, which changes none of these bits."""
    m = float_rbms(batch, n1, n2, scale=2.0)
    z1 = (uniform(k, batch, n1) < 0.5).float()
    start = z1.clone()
    noise = (uniform(7, k, batch, n2, seed=2), uniform(7, k, batch, n1, seed=3))
    with kernels.use(False):
        plain_sides = m.gibbs(z1, *noise)

    for by_kernel, plain in zip(case_chains.gibbs(*m, z1, *noise), plain_sides, strict=True):
        assert by_kernel.shape == plain.shape
        assert torch.equal(by_kernel, plain)
    assert torch.equal(z1, start)


def test_chains_stay_with_the_laws_of_their_machines():
    """Each of 40,000 equal machines has one chain, which starts at an exact sample. Three sweeps
    leave the 20 means and 51 pair products as they are."""
    n1 = 3
    n2 = 17
    cases = 40_000
    one_rbm = float_rbms(1, n1, n2, scale=2.0)
    alone = RBM(*(p[0] for p in one_rbm))
    u = uniform(cases, 1 + n2)
    start, _ = boltzmann_exact.sample(alone, u[:, 0], u[:, 1:])
    many = RBM(*(p.expand(cases, *p.shape[1:]) for p in one_rbm))
    z1, z2 = (
        z[0]
        for z in case_chains.gibbs(
            *many, start[None], uniform(3, 1, cases, n2), uniform(3, 1, cases, n1)
        )
    )

    assert_moments(alone, z1, z2, LIMIT)


def test_noise_of_another_type_is_turned_into_floats():
    m = float_rbms(2, 5, 4)
    z1 = torch.zeros(1, 2, 5)
    noise = (uniform(3, 1, 2, 4), uniform(3, 1, 2, 5))
    from_floats = case_chains.gibbs(*m, z1, *noise)
    from_other_types = case_chains.gibbs(*m, z1.to(torch.uint8), *(u.double() for u in noise))

    assert all(torch.equal(a, b) for a, b in zip(from_other_types, from_floats, strict=True))
    with pytest.raises(RuntimeError, match="expanded size"):
        case_chains.gibbs(*m, z1, noise[0], noise[0])


def test_machines_take_the_kernel_where_they_may(monkeypatch):
    used = []
    gibbs = case_chains.gibbs
    monkeypatch.setattr(case_chains, "gibbs", lambda *a: (used.append(len(a[3])), gibbs(*a))[1])
    m = float_rbms(2, 20, 20)

    # Of (chains, machines, allowed) the first alone fits: the next has too many chains for each
    # machine, then comes float64, then a block in which kernels are forbidden.
    for k, rbm, allowed in (
        (3, m, True),
        (4, m, True),
        (1, m.to(torch.float64), True),
        (1, m, False),
    ):
        with kernels.use(allowed):
            u = uniform(2, k, 2, 20).to(rbm.w.dtype)
            rbm.gibbs(torch.zeros(k, 2, 20, dtype=rbm.w.dtype), u, u)

    assert used == [3]


def test_logits_of_few_chains_and_their_gradient_are_the_plain_ones():
    m = float_rbms(4, 9, 6)
    z = uniform(2, 4, 6).requires_grad_()
    leaves = [p.requires_grad_() for p in m]
    by_choice = {}
    for by_kernel in (True, False):
        with kernels.use(by_kernel):
            logits = m.logits1(z)
        by_choice[by_kernel] = [
            logits,
            *torch.autograd.grad((logits**2).sum(), [z, leaves[0], leaves[2]]),
        ]

    for a, b in zip(by_choice[True], by_choice[False], strict=True):
        torch.testing.assert_close(a, b)
    assert by_choice[True][3].is_contiguous()  # the gradient of the couplings
    with kernels.use(True), pytest.raises(ValueError, match="need the shape"):
        m.logits1(z[0])
