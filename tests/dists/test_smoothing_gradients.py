"""Smoothing transformations: gradients, stability in single precision, function transforms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kit.draws import f64, uniform
from torch.func import grad, vmap

from vaebench.dists import smoothing
from vaebench.training import choice

SHARP = (1.0, 8.0, 30.0, 100.0)
OVERLAPPING = ["exponential", "logistic", "power", "uniform_exponential", "gaussian"]


def make(name: str, sharp: float = 5.0, **more) -> smoothing.Smoothing:
    """A smoothing by its sharpness: beta, or one over the scale of the logistic."""
    return smoothing.build(
        {"name": name, **({"scale": 1 / sharp} if name == "logistic" else {"beta": sharp}), **more}
    )


def invert(cdf, rho: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Where the increasing function ``cdf`` is ``rho``, by bisection."""
    low = torch.full_like(rho, low)
    high = torch.full_like(rho, high)
    for _ in range(70):
        middle = (low + high) / 2
        under = cdf(middle) < rho
        low = torch.where(under, middle, low)
        high = torch.where(under, high, middle)

    return (low + high) / 2


@pytest.mark.parametrize("sharp", [2.0, 9.0])
@pytest.mark.parametrize("name", OVERLAPPING)
def test_the_path_derivative_is_that_of_the_inverse_by_bisection(name, sharp):
    """At a fixed quantile.

    Where the inverse has a closed form, differences of that are compared as well.
    """
    s = make(name, sharp)
    h = 1e-5
    logit = (
        3 * torch.randn(300, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).requires_grad_()

    u = uniform(s.uniforms, 300)
    zeta = s.sample(logit, u)
    (slope,) = torch.autograd.grad(zeta.sum(), logit)

    # The quantile at which each zeta stands; where does F(zeta; logit +- h) reach it?
    zeta = zeta.detach()
    logit = logit.detach()
    rho = s.cdf(zeta, logit)
    up, down = (
        invert(lambda x, a=a: s.cdf(x, a), rho, *((0, 1) if s.support[0] == 0 else (-9, 9)))
        for a in (logit + h, logit - h)
    )

    torch.testing.assert_close(slope, (up - down) / (2 * h), rtol=1e-5, atol=1e-8)

    # Else derivatives that are lost altogether would agree.
    assert slope.max() > 0.1

    if s.uniforms == 1:
        difference = (s.inverse_cdf(u[0], logit + h) - s.inverse_cdf(u[0], logit - h)) / (2 * h)
        torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", OVERLAPPING)
def test_the_path_derivative_is_the_formula(name):
    """dzeta/dl = q (1 - q) (F0 - F1) / q(zeta), written as it stands."""
    s = make(name)

    logit = f64(-2.0, 0.3, 1.5).requires_grad_()
    zeta = s.sample(logit, uniform(s.uniforms, 3))
    (slope,) = torch.autograd.grad(zeta.sum(), logit)

    q = torch.sigmoid(logit).detach()
    zeta = zeta.detach()
    density = (1 - q) * s.log_r0(zeta).exp() + q * s.log_r1(zeta).exp()

    torch.testing.assert_close(
        slope, q * (1 - q) * (s.cdf0(zeta) - s.cdf1(zeta)) / density, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("name", OVERLAPPING)
def test_the_mean_path_gradient_is_the_gradient_of_the_mean(name):
    """E[f] = (1 - q) E0[f] + q E1[f], so d/dl E[f] = q (1 - q) (E1[f] - E0[f]), and E_i[f] by
    quadrature over F_i.

    |z| of a normal variable exceeds 5 by chance less than once in 1,000,000.
    """
    s = make(name)
    draws = 40_000

    logit = torch.full((draws,), -0.8, dtype=torch.float64, requires_grad=True)
    zeta = s.sample(logit, uniform(s.uniforms, draws, seed=3))

    # zeta's derivative times that of f = sin(3 zeta) + zeta^2.
    (gradients,) = torch.autograd.grad((torch.sin(3 * zeta) + zeta**2).sum(), logit)

    # E1[f] - E0[f] by 400-point Gauss-Legendre quadrature; unbounded supports are cut at -7 and 8.
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(400))
    low, high = (0, 1) if s.support[0] == 0 else (-7, 8)
    nodes = (low + high + (high - low) * nodes) / 2
    weights = weights * (high - low) / 2

    # By parts it is the integral of f' (F0 - F1).
    wanted = (
        weights * (3 * torch.cos(3 * nodes) + 2 * nodes) * (s.cdf0(nodes) - s.cdf1(nodes))
    ).sum()

    q = 1 / (1 + math.exp(0.8))
    z_score = (gradients.mean() - q * (1 - q) * wanted) / (gradients.std() / math.sqrt(draws))

    assert abs(float(z_score)) < 5

    # The gradient is 20 errors from 0, so a factor that is off by a quarter would be seen.
    assert abs(float(gradients.mean() / (gradients.std() / math.sqrt(draws)))) > 20


@pytest.mark.parametrize("name", ["spike_exponential", "concrete", "piecewise_linear"])
def test_the_derivative_is_that_of_the_quantile(name):
    s = make(name, 1.5)
    h = 1e-6
    logit = torch.linspace(-4, 4, 200, dtype=torch.float64).requires_grad_()
    u = uniform(1, 200)
    (slope,) = torch.autograd.grad(s.sample(logit, u).sum(), logit)

    logit = logit.detach()
    difference = (s.sample(logit + h, u) - s.sample(logit - h, u)) / (2 * h)

    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-7)
    assert (slope.abs() > 0.01).sum() > 50


def test_the_slope_of_piecewise_linear_may_be_stopped():
    logit = f64(0.8).requires_grad_()
    rho = f64(0.45)
    whole = make("piecewise_linear", 1.0)
    stopped = make("piecewise_linear", 1.0, stop_slope=True)

    # Values and derivatives with the slope's own dependence on the logit, and without.
    values, grads = zip(
        *(
            (v, *torch.autograd.grad(v, logit))
            for v in (s.sample(logit, rho[None]) for s in (whole, stopped))
        ),
        strict=True,
    )

    assert values[0] == values[1]

    # Written out; the line's slope kappa depends on the logit through q.
    q = 1 / (1 + math.exp(-0.8))
    kappa = 0.25 / (q * (1 - q) + 0.01)

    # Stopped: only the threshold 1 - q moves. The rest of the derivative is that of kappa.
    assert float(grads[1]) == pytest.approx(kappa * q * (1 - q), rel=1e-12)
    assert float(grads[0] - grads[1]) == pytest.approx(
        -kappa / (q * (1 - q) + 0.01) * (1 - 2 * q) * q * (1 - q) * (0.45 - (1 - q)), rel=1e-9
    )


@pytest.mark.parametrize("what", [0, 1, 2], ids=["logit", "delta", "sigma"])
def test_gradients_of_the_gaussian_mixture(what):
    """E[f] with f = sin(2 zeta) + zeta^2 in closed form, its derivative by
    autograd; |z| < 5 as above.

    E sin(2x) = sin(2m) exp(-2 s^2), E x^2 = m^2 + s^2 for N(m, s^2).
    """
    # logit, delta and sigma; one of them is varied, by ``what``.
    parameters = [f64(-0.6)[0], f64(0.4)[0], f64(0.5)[0]]
    draws = 40_000
    leaf = parameters[what].clone().requires_grad_()
    logit, delta, sigma = (leaf if i == what else v for i, v in enumerate(parameters))

    def mean(m):
        return torch.sin(2 * m) * torch.exp(-2 * sigma**2) + m**2 + sigma**2

    # The exact derivative, from the means of f under either component.
    q = torch.sigmoid(logit)
    (wanted,) = torch.autograd.grad((1 - q) * mean(delta) + q * mean(1 + delta), leaf)

    # The path derivative of every draw.
    wide = parameters[what].expand(draws).clone().requires_grad_()
    zeta = smoothing.gaussian_mixture_sample(
        *(wide if i == what else v for i, v in enumerate(parameters)), uniform(2, draws, seed=4)
    )
    (gradients,) = torch.autograd.grad((torch.sin(2 * zeta) + zeta**2).sum(), wide)
    error = gradients.std() / math.sqrt(draws)

    assert abs(float((gradients.mean() - wanted) / error)) < 5

    # The derivative is 20 errors from 0.
    assert abs(float(wanted / error)) > 20


def test_gradients_of_the_gaussian_mixture_at_a_fixed_quantile():
    parameters = [f64(-1.2), f64(0.3), f64(0.25)]
    u = uniform(2, 200)
    h = 1e-5
    leaves = [v.expand(200).clone().requires_grad_() for v in parameters]
    zeta = smoothing.gaussian_mixture_sample(*leaves, u)
    grads = torch.autograd.grad(zeta.sum(), leaves)
    zeta = zeta.detach()

    def cdf(x, logit, delta, sigma):
        q = torch.sigmoid(logit)
        phi = torch.special.ndtr
        return (1 - q) * phi((x - delta) / sigma) + q * phi((x - delta - 1) / sigma)

    # Each parameter in turn a little up and down, at the same quantile.
    rho = cdf(zeta, *parameters)
    for i, slope in enumerate(grads):
        up, down = ([v + e * (j == i) for j, v in enumerate(parameters)] for e in (h, -h))
        ends = [invert(lambda x, p=p: cdf(x, *p), rho, -3, 4) for p in (up, down)]
        torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-4, atol=1e-7)

    # delta moves every sample as it is.
    assert torch.equal(grads[1], torch.ones(200, dtype=torch.float64))


@pytest.mark.parametrize("sharp", SHARP)
@pytest.mark.parametrize("name", smoothing.SMOOTHINGS)
def test_everything_is_finite_for_all_logits_and_all_noise(name, sharp):
    """float32; logits to +-100; noise with its least and its greatest value and right at the
    threshold 1 - q."""
    s = make(name, sharp)

    # Logits of both signs, and noise: a grid, its ends, and every logit's threshold.
    logits = torch.tensor([0.0, 1e-6, 0.7, 3.0, 8.0, 12.0, 16.6, 20.0, 30.0, 60.0, 100.0])
    logits = torch.cat([logits, -logits])
    ends = torch.tensor([2**-24, 1e-6, 1e-4, 1 - 1e-6])
    grid = torch.cat(
        [torch.linspace(0, 1 - 2**-24, 25), ends, torch.sigmoid(logits).clamp(max=1 - 2**-24)]
    )
    u = (
        torch.stack([v.flatten() for v in torch.meshgrid(grid, grid, indexing="ij")])
        if s.uniforms == 2
        else grid[None]
    )

    logit = logits[:, None].expand(-1, u.shape[1]).clone().requires_grad_()
    zeta = s.sample(logit, u[:, None])
    (slope,) = torch.autograd.grad(zeta.sum(), logit, retain_graph=True)
    low, high = s.support

    assert ((zeta >= low) & (zeta <= high) & zeta.isfinite()).all()
    assert slope.isfinite().all()

    if isinstance(s, smoothing.Overlapping):
        # zeta never falls with the logit, to rounding.
        assert (slope > -1e-6).all()

        # The densities, by a free zeta and by the sampled one.
        free = zeta.detach().requires_grad_()
        outputs = [
            s.log_density(free, logit),
            s.log_ratio(free),
            s.log_r0(free),
            s.log_r1(free),
            s.log_density(zeta, logit),
        ]

        assert all(v.isfinite().all() for v in outputs)
        for v in outputs:
            assert all(
                g.isfinite().all()
                for g in torch.autograd.grad(v.sum(), [free, logit], allow_unused=True)
                if g is not None
            )

        # The slope in double precision, at the same zeta.
        exact = s.slope(zeta.detach().double(), logit.detach().double())

        # Power clips its samples, which stops the gradient.
        if name != "power":
            torch.testing.assert_close(slope.double(), exact, rtol=1e-3, atol=1e-30)


@pytest.mark.parametrize("limit", [-100.0, 100.0])
def test_the_gaussian_mixture_is_finite(limit):
    logit = torch.full((4,), limit).requires_grad_()
    delta = torch.full((4,), -0.25).requires_grad_()

    sigma = torch.tensor([0.05, 0.05, 0.25, 3.0]).requires_grad_()
    zeta = smoothing.gaussian_mixture_sample(
        logit, delta, sigma, torch.tensor([[0.0, 1 - 2**-24] * 2, [0.0, 1 - 2**-24] * 2])
    )

    log_q = smoothing.gaussian_mixture_log_density(zeta, logit, delta, sigma)
    values = [zeta, log_q, *torch.autograd.grad((zeta + log_q).sum(), [logit, delta, sigma])]

    assert all(v.isfinite().all() for v in values)


def test_power_passes_no_gradient_where_it_clips():
    s = make("power", 30.0)
    logit = torch.zeros(3, requires_grad=True)

    # The first sample and the last are clipped, to 2^-24 and 1 - 2^-24.
    zeta = s.sample(logit, torch.tensor([[0.2, 0.2, 0.8], [0.1, 0.9, 0.1]]))
    (slope,) = torch.autograd.grad(zeta.sum(), logit)

    assert zeta.tolist() == pytest.approx([2**-24, 0.9**30, 1 - 2**-24])
    assert slope[0] == 0.0
    assert slope[1] > 0.1


def step(name: str):
    """A loss of one case that uses all of a smoothing, and its arguments for three of them."""
    s = make(name)

    def loss(logit, u):
        zeta = s.sample(logit, u)
        total = (zeta**2).sum() + s.bits(logit, u).sum()
        if isinstance(s, smoothing.Overlapping):
            total = (
                total
                + s.log_density(zeta, logit).sum()
                + torch.sigmoid(s.posterior_logit(zeta, logit)).sum()
            )

        return total

    logit = 3 * torch.randn(3, 6, generator=torch.Generator().manual_seed(5))
    return loss, logit, uniform(3, s.uniforms, 6).float()


@pytest.mark.parametrize("name", smoothing.SMOOTHINGS)
def test_batched_through_vmap_and_grad(name):
    loss, logit, u = step(name)

    wanted = []
    for example, noise in zip(logit, u, strict=True):
        leaf = example.clone().requires_grad_()
        wanted += torch.autograd.grad(loss(leaf, noise), leaf)

    # vmap of grad against one backward pass after another.
    torch.testing.assert_close(vmap(grad(loss))(logit, u), torch.stack(wanted))
    assert torch.stack(wanted).abs().max() > 0.01


@pytest.mark.parametrize("name", ["exponential", "piecewise_linear"])
def test_traced_whole(name):
    """Tracing only ('eager' makes no code) of the batched gradient: no break in the graph."""
    loss, logit, u = step(name)
    compiled = torch.compile(vmap(grad(loss)), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(logit, u), vmap(grad(loss))(logit, u))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize("name", smoothing.SMOOTHINGS)
def test_compiled(name):
    loss, logit, u = step(name)
    compiled = torch.compile(vmap(grad(loss)), fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(logit, u), vmap(grad(loss))(logit, u), rtol=1e-4, atol=1e-5)
