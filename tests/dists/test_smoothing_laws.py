"""Smoothing transformations: densities, distribution functions and the laws of
samples, against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kit.draws import f64, uniform

from vaebench.dists import smoothing
from vaebench.dists.smoothing.base import excess, log_positive_root

OVERLAPPING = [
    smoothing.build(c)
    for c in (
        {"name": "exponential", "beta": 1.0},
        {"name": "exponential", "beta": 14.0},
        {"name": "logistic", "scale": 0.5},
        {"name": "logistic", "scale": 0.08},
        {"name": "power", "beta": 2.0},
        {"name": "power", "beta": 30.0},
        {"name": "uniform_exponential", "beta": 16.0},
        {"name": "uniform_exponential", "beta": 40.0, "eps": 0.3},
        {"name": "gaussian", "beta": 4.0},
        {"name": "gaussian", "beta": 40.0},
    )
]
ONE_UNIFORM = [s for s in OVERLAPPING if s.uniforms == 1]
SPIKE = smoothing.build({"name": "spike_exponential", "beta": 4.0})
CONCRETE = smoothing.build({"name": "concrete", "beta": 3.0})
LINEAR = smoothing.build({"name": "piecewise_linear", "beta": 4 / 3})
EVERY = [*OVERLAPPING, SPIKE, CONCRETE, LINEAR]
DRAWS = 20_000


def bounds(s: smoothing.Smoothing) -> tuple[float, float]:
    """The support, cut where the densities are below 1e-15."""
    width = {"Logistic": lambda: 40 * s.scale, "Gaussian": lambda: 8.5 * s.sigma}.get(
        type(s).__name__
    )
    return (0.0, 1.0) if width is None else (-width(), 1 + width())


def edges(s: smoothing.Smoothing) -> torch.Tensor:
    """Ends of cells over the support, within which the densities are smooth."""
    inner = np.linspace(0, 1, 17)
    if type(s).__name__ == "Power":
        # Infinite at 0 and 1: cells that grow by 4 there, down to 4^-25, which its clip does not
        # reach; less far at 1, where 1 - zeta runs out of digits. The mirrored density is seen at
        # 0.
        return f64(
            *(4.0**-k for k in range(25, 2, -1)), *inner[1:-1], *(1 - 4.0**-k for k in range(3, 9))
        )

    return f64(*sorted({*inner, *np.linspace(*bounds(s), 17)}))


def cells(density, at: torch.Tensor) -> torch.Tensor:
    """Integrals of ``density`` between the numbers ``at``, by 30-point
    Gauss-Legendre quadrature."""
    # Nodes and weights on [-1, 1], moved into every cell.
    x, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(30))
    half_width = (at[1:] - at[:-1]) / 2
    return (density((at[1:] + at[:-1])[:, None] / 2 + half_width[:, None] * x) * w).sum(
        -1
    ) * half_width


def departs(samples: torch.Tensor, at: torch.Tensor, wanted: torch.Tensor) -> float:
    """sqrt(n) times the greatest distance of the empirical distribution function from ``wanted``
    over points ``at``.

    Above 2.7 by chance with probability 2 exp(-2 * 2.7^2), less than once in 1,000,000
    (Kolmogorov-Smirnov).
    """
    empirical = (samples.flatten()[:, None] <= at).double().mean(0)
    return float((empirical - wanted).abs().max()) * math.sqrt(samples.numel())


@pytest.mark.parametrize("s", OVERLAPPING, ids=str)
def test_densities_are_the_derivatives_of_distribution_functions_that_end_at_one(s):
    at = edges(s)
    logit = f64(-1.3)
    pairs = (
        (s.log_r0, s.cdf0),
        (s.log_r1, s.cdf1),
        (lambda x: s.log_density(x, logit), lambda x: s.cdf(x, logit)),
    )
    low, high = bounds(s)

    # The mass of every cell, by the density and by F.
    for log_density, cdf in pairs:
        got = cells(lambda x, log_density=log_density: log_density(x).exp(), at)
        torch.testing.assert_close(got, cdf(at).diff(), rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(cdf(f64(low, high)), f64(0.0, 1.0), rtol=0, atol=1e-14)

    # What the path derivative uses, without cancellation.
    torch.testing.assert_close(s.gap(at), s.cdf0(at) - s.cdf1(at), rtol=0, atol=1e-14)


@pytest.mark.parametrize("s", OVERLAPPING, ids=str)
def test_the_two_densities_mirror_each_other(s):
    x = edges(s)
    torch.testing.assert_close(s.log_r1(x), s.log_r0(1 - x), rtol=0, atol=1e-10)
    torch.testing.assert_close(s.log_ratio(x), s.log_r1(x) - s.log_r0(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(s.cdf1(x), 1 - s.cdf0(1 - x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("config", "log_r0"),
    [
        (
            {"name": "exponential", "beta": 3.0},
            lambda x: math.log(3 * math.exp(-3 * x) / (1 - math.exp(-3))),
        ),
        ({"name": "power", "beta": 4.0}, lambda x: math.log(x**-0.75 / 4)),
        (
            {"name": "uniform_exponential", "beta": 3.0},
            lambda x: math.log(0.95 * 3 * math.exp(-3 * x) / (1 - math.exp(-3)) + 0.05),
        ),
        (
            {"name": "gaussian", "beta": 4.0},
            lambda x: math.log(2 / math.sqrt(2 * math.pi) * math.exp(-2 * x * x)),
        ),
        (
            {"name": "logistic", "scale": 0.2},
            lambda x: math.log(math.exp(-x / 0.2) / 0.2 / (1 + math.exp(-x / 0.2)) ** 2),
        ),
    ],
    ids=lambda v: v["name"] if isinstance(v, dict) else "",
)
def test_densities_are_those_of_the_papers(config, log_r0):
    x = f64(0.07, 0.4, 0.81)
    assert smoothing.build(config).log_r0(x).tolist() == pytest.approx(
        [log_r0(v) for v in x.tolist()], rel=1e-12
    )


@pytest.mark.parametrize("s", OVERLAPPING, ids=str)
def test_density_and_posterior_obey_bayes(s):
    """q(z = 1 | zeta) from the joint; the logit goes through the stable forms in the code."""
    x = f64(0.1, 0.35, 0.5, 0.9)[:, None]
    logit = f64(-2.0, 0.3, 4.0)
    joint_one = torch.sigmoid(logit) * s.log_r1(x).exp()
    joint_zero = torch.sigmoid(-logit) * s.log_r0(x).exp()

    torch.testing.assert_close(
        s.log_density(x, logit), torch.log(joint_one + joint_zero), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        torch.sigmoid(s.posterior_logit(x, logit)),
        joint_one / (joint_one + joint_zero),
        rtol=1e-10,
        atol=0,
    )


@pytest.mark.parametrize("logit", [-2.5, 0.4])
@pytest.mark.parametrize("s", OVERLAPPING, ids=str)
def test_samples_have_the_law_of_the_mixture(s, logit):
    """``sample``, and the two steps z then zeta, each against the distribution
    function; see ``departs``."""
    u = uniform(2, DRAWS)
    logit = f64(logit)
    points = edges(s)[1:-1]

    # ``sample`` itself; then z and zeta given z.
    assert departs(s.sample(logit, u[: s.uniforms]), points, s.cdf(points, logit)) < 2.7

    two_steps = s.sample_given(s.bits(logit, u), u[1])
    assert departs(two_steps, points, s.cdf(points, logit)) < 2.7

    # Given the bit: F1 and F0.
    assert departs(s.sample_given(torch.ones(()), u[1]), points, s.cdf1(points)) < 2.7
    assert departs(s.sample_given(torch.zeros(()), u[1]), points, s.cdf0(points)) < 2.7

    # The power of this test: a logit that is off by 1.5 would be seen.
    assert departs(two_steps, points, s.cdf(points, logit + 1.5)) > 2.7


@pytest.mark.parametrize("s", OVERLAPPING, ids=str)
def test_samples_are_made_as_documented(s):
    u = uniform(2, 5)
    logit = f64(-0.4, 0.1, 0.7, 2.0, -3.0)
    if s.uniforms == 2:
        wanted = s.sample_given(s.bits(logit, u), u[1])

        # Power keeps off the ends of (0, 1).
        wanted = wanted.clamp(2**-53, 1 - 2**-53) if type(s).__name__ == "Power" else wanted
    else:
        wanted = s.inverse_cdf(u[0], logit)

    assert torch.equal(s.sample(logit, u[: s.uniforms]), wanted)


@pytest.mark.parametrize("s", ONE_UNIFORM, ids=str)
def test_the_inverse_inverts(s):
    logit = f64(-40.0, -12.0, -3.0, 0.0, 0.5, 7.0, 40.0)[:, None]
    rho = f64(1e-9, 1e-4, 0.03, 0.5, 0.8, 1 - 1e-3, 1 - 1e-7)

    torch.testing.assert_close(
        s.cdf(s.inverse_cdf(rho, logit), logit), rho.expand(7, 7), rtol=1e-12, atol=1e-14
    )

    # The mirror image: zeta of (rho, logit) and of (1 - rho, -logit) add up to one.
    torch.testing.assert_close(
        s.inverse_cdf(rho, logit), 1 - s.inverse_cdf(1 - rho, -logit), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("sharp", [1.0, 8.0, 14.0, 30.0, 100.0])
@pytest.mark.parametrize("name", ["exponential", "logistic"])
def test_the_inverse_inverts_in_single_precision(name, sharp):
    """Rounding zeta to float32 moves F by density * 6e-8 at most; q = 1 - 1e-4 at beta 14 breaks
    the textbook root."""
    setting = {"scale": 1 / sharp} if name == "logistic" else {"beta": sharp}
    s = smoothing.build({"name": name, **setting})

    # Logits up to 100, and the q at which the textbook root fails.
    logits = torch.linspace(-30, 30, 61)
    logits = torch.cat(
        [logits, torch.logit(torch.tensor([1e-4, 1 - 1e-4])), torch.tensor([-100.0, 100.0])]
    )[:, None]

    # Noise: a grid, numbers near its ends, and some logits' thresholds.
    grid = torch.linspace(0, 1 - 2**-24, 200)
    rho = torch.cat(
        [grid, torch.tensor([2**-24, 1e-5, 1e-4, 1 - 1e-5]), torch.sigmoid(logits[20:40, 0])]
    )

    zeta = s.inverse_cdf(rho, logits)
    low, high = s.support

    assert ((zeta >= low) & (zeta <= high) & zeta.isfinite()).all()

    # Back through F in double precision: rounding of zeta alone remains.
    quantiles = s.cdf(zeta.double(), logits.double())
    assert (quantiles - rho.double()).abs().max() < 3e-7 + 1e-7 * sharp


@pytest.mark.parametrize("s", EVERY, ids=str)
def test_bits_compare_noise_with_the_probability(s):
    logit = torch.tensor([0.0, 0.0, 2.0, 2.0, -100.0, 100.0, -16.0, 16.0])
    u = torch.tensor([0.5, 0.501, 0.119, 0.1193, 1 - 2**-22, 2**-22, 1 - 2**-24, 2**-24])[None]
    z = s.bits(logit.requires_grad_(), u)

    # 1 - sigmoid(2) = 0.1192, 1 - sigmoid(16) = 1.1e-7.
    assert z.tolist() == [0, 1, 0, 1, 0, 1, 1, 0]
    assert not z.requires_grad
    assert z.dtype == logit.dtype


def test_the_root_survives_coefficients_that_vanish():
    """b = 0 and a c too small for float32: far off, but no logarithm of zero."""
    a = torch.tensor([-200.0, -3.0, -3.0])
    b = torch.tensor([0.0, 0.7, -0.7])
    m = log_positive_root(a, b, a)

    assert m.isfinite().all()

    # The positive root of c m^2 + v m - c = 0 by the textbook, in double precision.
    c = math.exp(-3)
    wanted = [math.log((-v + math.sqrt(v * v + 4 * c * c)) / (2 * c)) for v in (0.7, -0.7)]

    assert m[1:].tolist() == pytest.approx(wanted, rel=1e-5)


def test_excess_keeps_the_digits_of_small_probabilities():
    logit = torch.tensor([-25.0, 25.0, -0.5, 3.0])
    rho = torch.tensor([1 - 2**-24, 2**-24, 0.3, 0.9])
    exact = rho.double() - torch.sigmoid(-logit.double())
    torch.testing.assert_close(excess(rho, logit).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [n for n in smoothing.SMOOTHINGS if n != "uniform_exponential"])
def test_the_limit_is_bernoulli(name):
    s = smoothing.build(
        {"name": name, **({"scale": 1e-5} if name == "logistic" else {"beta": 1e9})}
    )
    u = uniform(2, 400, seed=1)
    logit = torch.linspace(-3, 3, 400, dtype=torch.float64)

    # At this sharpness zeta differs from its bit by 2e-4 at most.
    torch.testing.assert_close(
        s.sample(logit, u[: s.uniforms]), s.bits(logit, u), rtol=0, atol=2e-4
    )


def test_the_limit_with_a_uniform_floor_is_bernoulli_but_for_the_floor():
    s = smoothing.build({"name": "uniform_exponential", "beta": 1e9, "eps": 0.05})
    u = uniform(2, DRAWS, seed=1)

    # The uniform floor, of mass 0.05, is all that is not a bit.
    not_a_bit = (s.sample(f64(0.7), u) - s.bits(f64(0.7), u)).abs() > 1e-6
    assert abs(float(not_a_bit.double().mean()) - 0.05) < 5 * math.sqrt(0.05 * 0.95 / DRAWS)


def test_power_keeps_off_the_ends_and_says_how_much_mass_lies_there():
    s = smoothing.build({"name": "power", "beta": 30.0})
    logit = torch.tensor(0.0)
    zeta = s.sample(logit, uniform(2, DRAWS).float())

    assert (zeta.min(), zeta.max()) == (2**-24, 1 - 2**-24)

    # Mass at the lower end: a zero (probability 1/2) whose zeta is below 2^-24.
    share = float((zeta == 2**-24).double().mean())
    wanted = 0.5 * 2 ** (-24 / 30)

    assert abs(share - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / DRAWS)

    # The log-ratio is finite at and beyond the clip.
    at_ends = s.log_ratio(torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-24, 1.0]))
    limit = (1 - 1 / 30) * math.log(2**24 - 1)

    assert at_ends.tolist() == pytest.approx([-limit, -limit, 0.0, limit, limit], rel=1e-6)
    assert s.log_density(torch.tensor([0.0, 1.0]), logit).isfinite().all()


def test_spike_is_zero_with_the_probability_of_a_zero_and_exponential_otherwise():
    u = uniform(1, DRAWS)
    logit = f64(0.6)
    zeta = SPIKE.sample(logit, u)
    active = SPIKE.active(zeta)

    assert torch.equal(active, SPIKE.bits(logit, u))

    # The spike has the probability of a zero.
    q = float(torch.sigmoid(logit))
    assert abs(float(active.mean()) - q) < 5 * math.sqrt(q * (1 - q) / DRAWS)

    # Without the spike: the exponential rising to 1.
    points = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    wanted = torch.expm1(4 * points) / math.expm1(4)

    assert departs(zeta[active > 0], points, wanted) < 2.7

    # The inverse reaches every zeta from its quantile.
    torch.testing.assert_close(
        SPIKE.inverse_cdf(1 - q * (1 - wanted), logit), points, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("beta", [0.5, 5.0, 100.0])
def test_spike_is_active_exactly_where_the_bit_is_one(beta):
    s = smoothing.build({"name": "spike_exponential", "beta": beta})
    logit = torch.linspace(-100, 100, 401)[:, None]
    u = torch.cat(
        [
            torch.linspace(0, 1 - 2**-24, 101),
            torch.sigmoid(-logit[180:220, 0]),
            torch.tensor([2.0**-24]),
        ]
    )[None]
    zeta = s.sample(logit, u[:, None])

    assert torch.equal(s.active(zeta), s.bits(logit, u[:, None]))
    assert ((zeta >= 0) & (zeta <= 1)).all()


def test_spike_clips_the_probability():
    zeta = SPIKE.inverse_cdf(f64(1.0), f64(-50.0, -20.0, -16.2))

    # q is clipped at 1e-7, and would be exp(-50) without.
    assert zeta.tolist() == pytest.approx([1.0, 1.0, 1.0])

    # In the middle of this mass.
    middle = SPIKE.inverse_cdf(1 - f64(0.5e-7), f64(-50.0))
    assert float(middle) == pytest.approx(math.log1p(math.expm1(4) / 2) / 4, rel=1e-6)


@pytest.mark.parametrize("logit", [-6.0, -0.4, 0.0, 1.2, 9.0])
@pytest.mark.parametrize("s", [LINEAR, CONCRETE], ids=str)
def test_more_than_one_half_with_the_probability_of_a_one(s, logit):
    logit = f64(logit)

    rho = torch.sigmoid(-logit) + f64(-1e-6, 1e-6)

    # zeta crosses one half where the bit turns, at rho = 1 - q.
    low, high = s.inverse_cdf(rho, logit).tolist()

    assert low < 0.5 < high

    rho = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1]
    assert torch.equal((s.inverse_cdf(rho, logit) > 0.5).double(), s.bits(logit, rho[None]))


def test_piecewise_linear_is_a_line_between_its_ends():
    logit = f64(0.5)
    rho = torch.linspace(0, 1, 101, dtype=torch.float64)

    # The line through (1 - q, 1/2) with the slope kappa.
    q = float(torch.sigmoid(logit))
    kappa = 0.25 * (4 / 3) / (q * (1 - q) + 0.01)
    wanted = [min(max(0.5 + kappa * (r - (1 - q)), 0), 1) for r in rho.tolist()]

    assert LINEAR.sample(logit, rho[None]).tolist() == pytest.approx(wanted, abs=1e-12)

    # Both ends and the line between them.
    assert {0.0, 1.0} < set(wanted)


def test_concrete_density_integrates_to_the_law_of_its_samples():
    logit = f64(-0.7)
    at = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    u = uniform(1, DRAWS)

    # zeta <= t exactly when logit(rho) <= logit(t) / beta - logit.
    cdf = torch.sigmoid(torch.logit(at) / 3 - logit)

    assert departs(CONCRETE.sample(logit, u), at, cdf) < 2.7
    torch.testing.assert_close(
        cells(lambda x: CONCRETE.log_density(x, logit).exp(), at), cdf.diff(), rtol=1e-9, atol=0
    )

    # The substitution zeta = sigmoid(t); the ends are infinite.
    t = torch.linspace(-33, 33, 67, dtype=torch.float64)
    whole = cells(
        lambda x: CONCRETE.log_density(torch.sigmoid(x), logit).exp() / (2 + 2 * torch.cosh(x)), t
    ).sum()

    assert float(whole) == pytest.approx(
        float(torch.sigmoid(11 - logit) - torch.sigmoid(-11 - logit)), abs=1e-6
    )
    assert float(whole) > 0.9999
    assert (
        CONCRETE.log_density(torch.tensor([0.0, 1.0]), torch.tensor([[100.0], [-100.0]]))
        .isfinite()
        .all()
    )


def test_concrete_clips_its_noise():
    clipped = CONCRETE.sample(f64(11.0), f64(0.0, 1e-6, 1e-5)[None])

    # Noise below 1e-5 counts as 1e-5, at either end.
    assert clipped.tolist() == pytest.approx(
        [1 / (1 + math.exp(-3 * (11 + math.log(1e-5 / (1 - 1e-5)))))] * 3, rel=1e-9
    )
    assert float(CONCRETE.sample(f64(-11.0), f64(1 - 1e-6)[None])) == pytest.approx(
        1 - float(clipped[0]), rel=1e-9
    )


def test_gaussian_mixture_density_and_samples_agree():
    logit = f64(-0.4)
    delta = f64(0.17)
    sigma = f64(0.31)
    u = uniform(2, DRAWS)
    points = torch.linspace(-3, 4, 60, dtype=torch.float64)
    log_density = smoothing.gaussian_mixture_log_density
    mass = cells(lambda x: log_density(x, logit, delta, sigma).exp(), points)

    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-12)

    # Samples against the cumulated density.
    zeta = smoothing.gaussian_mixture_sample(logit, delta, sigma, u)
    assert departs(zeta, points[1:], mass.cumsum(0)) < 2.7

    # With delta 0 and the sigma of the Gaussian smoothing it is that smoothing.
    gaussian = smoothing.build({"name": "gaussian", "beta": 25.0})
    assert torch.equal(
        smoothing.gaussian_mixture_sample(logit, f64(0), f64(0.2), u), gaussian.sample(logit, u)
    )
    torch.testing.assert_close(
        log_density(points, logit, f64(0), f64(0.2)),
        gaussian.log_density(points, logit),
        rtol=1e-12,
        atol=1e-12,
    )


def test_shapes_broadcast():
    for s in EVERY:
        logit = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        u = uniform(s.uniforms, 5, 4, 3).float()
        zeta = s.sample(logit, u)

        assert zeta.shape == s.bits(logit, u).shape == (5, 4, 3)
        torch.testing.assert_close(s.sample(logit[2], u[:, 1, 2]), zeta[1, 2])
        assert zeta.dtype == torch.float32
