"""p(zeta) with the Gaussian integral, its determinant and what bounds lambda:
enumeration and quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from kit.draws import normal
from kit.rbms import normal_rbm
from kit.sharp_gaussian import LIMIT, enumerated, full
from torch import distributions

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.objectives import dvae_sharp_gaussian as rules


@pytest.mark.parametrize(("w", "shift"), [(2.0, 6.0), (-4.0, 5.0), (0.0, 30.0)])
def test_one_and_one_unit_integrate_to_one(w, shift):
    # The density integrates to one because log Z of the bits is subtracted.
    m = RBM(*(torch.tensor(v, dtype=torch.float64) for v in ([0.7], [-1.1], [[w]])))

    axis = torch.linspace(-6, 7, 651, dtype=torch.float64)
    zeta1, zeta2 = (v.reshape(1, -1, 1) for v in torch.meshgrid(axis, axis, indexing="ij"))
    log_p = rules.log_density(
        m, torch.tensor(shift, dtype=torch.float64), zeta1, zeta2
    ) - boltzmann_exact.log_z(m)

    assert float(log_p.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1.0, abs=1e-9)


def test_two_and_two_units_integrate_to_one():
    """By importance sampling from a wider mixture around every corner."""
    m = normal_rbm(n1=2, n2=2)
    shift = torch.tensor(6.0, dtype=torch.float64)

    # The proposal: around each of the 16 corners, wider than the narrowest direction of S.
    width = math.sqrt(1.3 / float(torch.linalg.eigvalsh(full(m.w, shift)).min()))
    each = distributions.Normal(torch.tensor([0.0, 1.0], dtype=torch.float64), width)
    corner = (torch.rand(100_000, 4, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    zeta = corner + width * normal(100_000, 4, seed=4)
    log_q = (torch.logsumexp(each.log_prob(zeta.unsqueeze(-1)), -1) - math.log(2)).sum(-1)

    weight = (
        rules.log_density(m, shift, zeta[:, :2], zeta[:, 2:]) - boltzmann_exact.log_z(m) - log_q
    ).exp()

    error = float(weight.std()) / math.sqrt(len(weight))

    # Without the first line a proposal of useless weights would pass the second.
    assert error < 0.01
    assert abs(float(weight.mean()) - 1) < LIMIT * error


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (2, 3), (4, 2)])
def test_density_and_gradient_are_those_of_the_sum_over_all_states(sizes):
    n1, n2 = sizes
    m = normal_rbm(n1=n1, n2=n2, scale=1.5)
    shift = rules.largest_singular_value(m.w) + 1.0
    zeta = [normal(3, 5, n, seed=7 + n, scale=1.5) for n in sizes]

    leaves = [v.requires_grad_() for v in (*m, shift.clone(), *zeta)]
    log_p = rules.log_density(RBM(*leaves[:3]), *leaves[3:])
    wanted = enumerated(RBM(*leaves[:3]), *leaves[3:])

    assert log_p.shape == (3, 5)
    torch.testing.assert_close(log_p, wanted)

    # One random combination of the outputs has a gradient in every input.
    probe = normal(3, 5, seed=9)
    for a, b in zip(
        *(torch.autograd.grad((v * probe).sum(), leaves) for v in (log_p, wanted)), strict=True
    ):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b)


def test_float32_holds_with_two_hundred_units_and_large_couplings():
    b1, b2, w = normal_rbm(n1=100, n2=100, seed=3)
    m = RBM(3 * b1, 3 * b2, 2 * w)
    shift = rules.largest_singular_value(m.w) + rules.FLOOR

    zeta = [
        (normal(2, 20, 100, seed=i) > 0).double() + normal(2, 20, 100, seed=5 + i, scale=0.25)
        for i in (0, 1)
    ]
    by_dtype = []

    for dtype in (torch.float32, torch.float64):
        w = m.w.to(dtype).requires_grad_()
        value = rules.log_density(
            RBM(m.b1.to(dtype), m.b2.to(dtype), w), shift.to(dtype), *(z.to(dtype) for z in zeta)
        )
        by_dtype.append((value.double(), torch.autograd.grad(value.sum(), w)[0].double()))

    torch.testing.assert_close(by_dtype[0][0], by_dtype[1][0], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(by_dtype[0][1], by_dtype[1][1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("sizes", [(1, 1), (5, 5), (3, 6), (6, 3)])
def test_log_determinant(sizes):
    w = normal(*sizes)
    shift = torch.tensor(7.0, dtype=torch.float64)
    sign, wanted = torch.linalg.slogdet(full(w, shift))

    assert sign == 1
    torch.testing.assert_close(rules.log_det(w, shift), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("sizes", [(1, 1), (100, 100), (5, 40), (40, 5)])
def test_largest_singular_value_is_bounded_from_above_and_closely(sizes, scale, dtype):
    w = normal(*sizes, scale=scale).to(dtype).requires_grad_()
    estimate = rules.largest_singular_value(w)
    wanted = torch.linalg.matrix_norm(w.detach(), 2)

    assert not estimate.requires_grad

    # The estimate may exceed the largest singular value by the factor n^(1 / 4m), m = 2^SQUARINGS.
    excess = float(estimate.double() / wanted.double())
    assert 1 - 1e-5 < excess < min(sizes) ** (0.25 / 2**rules.SQUARINGS) + 1e-5


def test_largest_singular_value_of_special_matrices():
    assert float(rules.largest_singular_value(torch.zeros(4, 4))) < 1e-15

    # All equal is the worst case: too large by n^(1 / 4m).
    assert float(rules.largest_singular_value(3 * torch.eye(100))) == pytest.approx(
        3 * 100 ** (1 / 1024), rel=1e-6
    )

    # Of rank one the estimate is exact: sqrt(20 * 30).
    assert float(rules.largest_singular_value(torch.ones(20, 30))) == pytest.approx(
        math.sqrt(600), rel=1e-6
    )
