"""Precisions that are diagonal plus rank one, against matrices written out
and torch's own Gaussian."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from vaebench.dists import precision_gaussian as pg

N = 5

SCALES = {
    "random": 1.0,
    "u towards 0": 1e-9,
    "u is 0": 0.0,
    "large u": 1e3,
    "u in one direction": None,
}
"""Factor of a random u; None: a u along one axis. A very long u costs the last digits."""


@pytest.fixture(params=list(SCALES))
def case(request):
    """log_d, u (N,), and the covariance and its inverse as matrices."""
    generator = torch.Generator().manual_seed(len(request.param))
    log_d = torch.randn(N, generator=generator, dtype=torch.float64)
    u = torch.randn(N, generator=generator, dtype=torch.float64)
    scale = SCALES[request.param]
    u = torch.eye(N, dtype=torch.float64)[2] * 3 if scale is None else scale * u
    precision = torch.diag(log_d.exp()) + torch.outer(u, u)

    return log_d, u, torch.linalg.inv(precision), precision


def root(log_d, u):
    """R as a matrix: its columns are what unit vectors become."""
    return pg.transform(log_d, u, torch.eye(N, dtype=log_d.dtype)).T


def test_r_is_a_root_of_the_covariance(case):
    log_d, u, covariance, _ = case
    r = root(log_d, u)
    torch.testing.assert_close(r @ r.T, covariance, rtol=1e-9, atol=1e-9)


def test_determinant_and_trace(case):
    log_d, u, covariance, precision = case
    torch.testing.assert_close(
        pg.log_det(log_d, u), -torch.linalg.slogdet(precision)[1], rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(pg.trace(log_d, u), covariance.trace(), rtol=1e-9, atol=1e-9)


def test_density_and_kl_are_those_of_torch(case):
    log_d, u, _, precision = case
    generator = torch.Generator().manual_seed(7)
    mean, *x = torch.randn(9, N, generator=generator, dtype=torch.float64)

    x = torch.stack(x)
    q = distributions.MultivariateNormal(mean, precision_matrix=precision)

    torch.testing.assert_close(pg.log_prob(x, mean, log_d, u), q.log_prob(x), rtol=1e-7, atol=1e-7)

    standard = distributions.MultivariateNormal(
        torch.zeros_like(mean), torch.eye(N, dtype=torch.float64)
    )
    wanted = distributions.kl_divergence(q, standard)

    torch.testing.assert_close(pg.kl_standard(mean, log_d, u), wanted, rtol=1e-7, atol=1e-7)


def test_without_a_vector_it_is_diagonal(case):
    log_d, _, _, _ = case
    zero = torch.zeros(N, dtype=torch.float64)
    normal = torch.linspace(-2, 2, N, dtype=torch.float64)

    torch.testing.assert_close(pg.transform(log_d, None, normal), pg.transform(log_d, zero, normal))
    torch.testing.assert_close(
        pg.log_prob(normal, zero, log_d, None), pg.log_prob(normal, zero, log_d, zero)
    )
    torch.testing.assert_close(
        pg.kl_standard(normal, log_d, None), pg.kl_standard(normal, log_d, zero)
    )

    # And that diagonal Gaussian is torch's.
    q = distributions.Normal(zero, torch.exp(-0.5 * log_d))
    torch.testing.assert_close(pg.log_prob(normal, zero, log_d, None), q.log_prob(normal).sum())


def test_gradients_are_finite_where_u_is_0():
    leaves = [torch.zeros(N, requires_grad=True) for _ in range(3)]
    mean, log_d, u = leaves
    z = mean + pg.transform(log_d, u, torch.ones(N))
    value = z.sum() + pg.log_prob(z, mean, log_d, u) + pg.kl_standard(mean, log_d, u)

    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(value, leaves))


def test_float32_is_good_to_its_digits_whatever_the_length_of_u():
    """R R^T and the trace, relative to the largest variance; u of up to 10^4."""
    for scale in (0.0, 1e-4, 1.0, 1e4):
        generator = torch.Generator().manual_seed(1)
        log_d, u = torch.randn(2, N, generator=generator)
        u = scale * u

        # The covariance by an inverse in double precision.
        exact = torch.linalg.inv(
            torch.diag(log_d.double().exp()) + torch.outer(u.double(), u.double())
        )
        r = root(log_d, u).double()

        assert float((r @ r.T - exact).abs().max() / exact.max()) < 1e-5
        assert float((pg.trace(log_d, u).double() - exact.trace()).abs() / exact.trace()) < 1e-5

        single = pg.log_det(log_d, u)
        double = pg.log_det(log_d.double(), u.double())

        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
