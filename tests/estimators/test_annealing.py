"""log Z by annealing, both ways: unbiased, honest about its error, step by step, in any chunks."""

from __future__ import annotations

import math

import pytest
import torch
from kit.machines import LIMIT, machine, two_modes

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z import annealing
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.partition import generators, log_mean
from vaebench.rng.noise import dithered

BASES = {
    "uniform": "uniform",
    "biases": "biases",
    "given": (torch.linspace(-1, 1, 6), torch.tensor(0.3, dtype=torch.float64)),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("sweeps", "dtype"), [(1, torch.float64), (2, torch.float32)])
def test_annealing_is_unbiased_however_few_the_temperatures(base, sweeps, dtype):
    """Three crude steps: mean w / Z is 1 within its error, in both directions; in logs the
    error is small enough."""
    m = machine(3, n1=6, n2=6, scale=0.8, seed=1, dtype=dtype)
    wanted = logz.exact(m).value
    got = logz.ais(m, 3, 20_000, 0, base=BASES[base], sweeps=sweeps, reverse=True)
    assert got.upper_exact
    for value, error in ((got.value, got.error), (got.upper, got.upper_error)):
        assert value.dtype == error.dtype == torch.float64
        assert (error > 1e-3).all()
        assert (error < 0.05).all()
        assert ((value - wanted) / error).abs().max() < LIMIT


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("cheap", [False, True])
def test_annealing_step_by_step(monkeypatch, sweeps, cheap):
    """The recipe in the plainest words, machine by machine, with the same noise; that of many
    chains is cheap."""
    monkeypatch.setattr(annealing, "MANY", 0 if cheap else 106)
    machines, (c1, c2), k, steps = (
        machine(2, n1=4, n2=3, seed=9),
        (torch.tensor(0.5), torch.tensor(-0.2)),
        15,
        4,
    )
    got = logz.ais(machines, steps, k, 0, base=(c1, c2), sweeps=sweeps, keep=True)
    for i in range(2):
        m = RBM(*(p[i] for p in machines))
        (maker,) = generators(range(i, i + 1), 0, "eval", 0, torch.device("cpu"))

        def draw(maker=maker):
            plain = (
                torch.rand(k, 7, generator=maker, dtype=torch.float64)
                if not cheap
                else dithered((k, 7), maker)
            )
            return plain.double().split([4, 3], 1)

        def at(t, m=m):
            return RBM((1 - t) * c1 + t * m.b1, (1 - t) * c2 + t * m.b2, t * m.w)

        z1 = (draw()[0] < torch.sigmoid(c1)).double()
        log_w = torch.zeros(k).double()
        for step in range(1, steps + 1):
            log_w += at((step - 1) / steps).free_energy1(z1) - at(step / steps).free_energy1(z1)
            for _ in range(sweeps):
                u1, u2 = draw()
                z2 = (u2 < at(step / steps).mean2(z1)).double()
                z1 = (u1 < at(step / steps).mean1(z2)).double()
        assert torch.allclose(got.log_w[:, i], log_w, atol=1e-11)
        assert torch.equal(got.z1[:, i], z1)
        assert torch.equal(got.z2[:, i], z2)


@pytest.mark.parametrize("base", ["uniform", "biases"])
def test_the_stated_error_is_the_error(base):
    """Over 300 machines the variance of z is 1 within 5 times sqrt(2 / 300), and its
    mean 0, for both bounds."""
    m = machine(300, n1=4, n2=5, scale=0.7, seed=2)
    wanted = logz.exact(m).value
    got = logz.ais(m, 12, 200, 1, base=base, reverse=True)
    for value, error in ((got.value, got.error), (got.upper, got.upper_error)):
        z = (value - wanted) / error
        assert float(z.var()) == pytest.approx(1.0, abs=0.41)
        assert float(z.mean()) == pytest.approx(0.0, abs=0.29)


def test_few_chains_enclose_log_z():
    """Means over 1,000 copies: each bound is off by about half the squared
    relative error of its weights."""
    m = RBM(*(p.expand(1000, *p.shape) for p in machine(n1=5, n2=4, scale=1.2, seed=3)))
    wanted = logz.exact(m).value[0]
    got = logz.ais(m, 1, 2, 0, reverse=True)
    for gap in (wanted - got.value, got.upper - wanted):
        assert float(gap.mean()) > 4 * float(gap.std()) / math.sqrt(1000)


def test_upper_bound_from_samples_given():
    m = machine(2, n1=5, n2=6, seed=4)
    u = torch.rand(3000, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z1, z2 = boltzmann_exact.sample(m, u[..., 0], u[..., 1:])
    wanted = logz.exact(m).value
    got = logz.ais(m, 5, 100, 0, reverse=z1)
    assert got.upper_exact is False
    assert ((got.upper - wanted) / got.upper_error).abs().max() < LIMIT
    alone = logz.ais(RBM(*(p[1] for p in m)), 5, 100, 0, reverse=z1[:, 1], first=1)
    assert float(alone.upper) == pytest.approx(float(got.upper[1]), abs=1e-9)
    wrong = logz.ais(m, 5, 100, 0, reverse=1 - z1)
    assert ((wrong.upper - wanted) / wrong.upper_error).abs().max() > 10
    with pytest.raises(
        ValueError, match=r"samples for the reverse run have the shape \(3000, 2, 6\)"
    ):
        logz.ais(m, 5, 100, 0, reverse=z2)


def test_from_samples_of_one_mode_the_upper_bound_is_of_that_mode():
    """log Z + log p(A) - log P(A), with p(A) the mode's mass and P(A) the share of the forward run
    that ends in it.

    For the forward path to a state, weighted, is the way back from it: E[1 / w; start in A] = (Z_0
    / Z) P(A) / p(A). A mode with 15 % of the mass, where 87 % of the forward run end: the bound is
    1.7 nats below log Z.
    """
    m = two_modes(6, 1.0, 0.17)
    z1, _, log_p = boltzmann_exact.log_probs(m)
    share = (log_p.exp() * (z1.mean(-1) < 0.5)).sum()
    u = torch.rand(60_000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples, _ = boltzmann_exact.sample(m, u[:, 0], u[:, 1:])
    of_mode = samples[samples.mean(-1) < 0.5]
    base = torch.tensor(-2.5, dtype=torch.float64), torch.tensor(-2.5, dtype=torch.float64)
    got = logz.ais(m, 8, 60_000, 0, base=base, reverse=of_mode, keep=True)

    ended = (got.z1.mean(-1) < 0.5).double().mean()
    wanted = logz.exact(m).value + share.log() - ended.log()

    error = math.hypot(
        float(got.upper_error), math.sqrt((1 - float(ended)) / float(ended) / len(got.z1))
    )
    assert abs(float(got.upper - wanted)) < LIMIT * error
    assert float(got.upper) < float(logz.exact(m).value) - 1.5


def test_machines_too_large_to_enumerate_start_the_reverse_run_at_resampled_ends():
    """Two modes, whose shares the forward run's ends have wrong and their weights right.

    Mean over twelve runs, in its standard errors by Student's t with 11 degrees of freedom: 4.75 is
    exceeded by chance once in 1,700. Without the weights the bound lies 0.36 below log Z.
    """
    m = two_modes(17, 0.5, 0.05)
    wanted = logz.exact(m).value
    m = RBM(*(p.expand(12, *p.shape) for p in m))
    got = logz.ais(m, 30, 1000, 0, base="uniform", reverse=True, keep=True)
    assert got.upper_exact is False
    plain = logz.ais(m, 30, 1000, 0, base="uniform", reverse=got.z1)
    right, low = (
        (g.upper - wanted).mean() / ((g.upper - wanted).std() / 12**0.5) for g in (got, plain)
    )
    assert abs(right) < LIMIT
    assert low < -LIMIT


@pytest.mark.parametrize("reverse", [False, True])
def test_results_do_not_depend_on_chunking(reverse):
    m = machine(2, 3, n1=4, n2=3, seed=6)
    wanted = logz.ais(m, 10, 20, 0, base="uniform", keep=True, reverse=reverse)
    assert wanted.value.shape == wanted.error.shape == wanted.ess.shape == (2, 3)
    assert wanted.z1.shape == (20, 2, 3, 4)
    assert wanted.z2.shape == (20, 2, 3, 3)
    assert wanted.log_w.shape == (20, 2, 3)
    names = ["value", "error", "ess", "z1", "z2", "log_w"] + ["upper", "upper_error"] * reverse
    for size in (1, 20 * 7 * 4, 10**6):
        got = logz.ais(m, 10, 20, 0, base="uniform", keep=True, reverse=reverse, max_floats=size)
        assert all(
            torch.allclose(getattr(got, n), getattr(wanted, n), rtol=0, atol=1e-9) for n in names
        )
    for i in range(2):
        for j in range(3):
            alone = RBM(*(p[i, j] for p in m))
            got = logz.ais(
                alone, 10, 20, 0, base="uniform", keep=True, reverse=reverse, first=3 * i + j
            )
            for n in names:
                here = getattr(wanted, n)
                here = here[i, j] if n not in ("z1", "z2", "log_w") else here[:, i, j]
                assert torch.allclose(getattr(got, n), here, rtol=0, atol=1e-9)
    other = logz.ais(m, 10, 20, 1, base="uniform")
    assert not torch.isclose(other.value, wanted.value).any()
    same = logz.ais(RBM(*(p[:1, :1].expand(p.shape) for p in m)), 10, 20, 0, base="uniform").value
    assert len(same.unique()) == 6  # equal machines have noise of their own


def test_equal_bases_by_different_names():
    m = machine(2, n1=4, n2=3)
    for base, same in (("uniform", (torch.zeros(4), torch.zeros(3))), ("biases", (m.b1, m.b2))):
        assert torch.allclose(
            logz.ais(m, 9, 20, 0, base=base).value, logz.ais(m, 9, 20, 0, base=same).value
        )
    assert not torch.isclose(
        logz.ais(m, 9, 20, 0, base="uniform").value, logz.ais(m, 9, 20, 0).value
    ).any()


def test_final_states_and_weights():
    """Weighted, they have the exact means after any number of temperatures;
    unweighted, only after many."""
    m = machine(n1=6, n2=6, scale=0.8, seed=7)
    exact = boltzmann_exact.moments(m)
    wanted = torch.cat([exact.mean1, exact.mean2, exact.mean12.flatten()])

    def z_scores(temperatures, weighted):
        got = logz.ais(m, temperatures, 20_000, 0, keep=True)
        assert float(log_mean(got.log_w)[1]) == float(got.error)
        assert {*got.z1.unique().tolist(), *got.z2.unique().tolist()} == {0.0, 1.0}
        f = torch.cat([got.z1, got.z2, (got.z1[:, :, None] * got.z2[:, None, :]).flatten(1)], 1)
        w = (
            (got.log_w - got.log_w.max()).exp()[:, None]
            if weighted
            else torch.ones(20_000, 1).double()
        )
        share = w * (f - wanted) / w.mean()
        return float((share.mean(0) / share.std(0) * math.sqrt(20_000)).abs().max())

    assert z_scores(3, True) < LIMIT
    assert z_scores(2, False) > 10
    assert z_scores(100, False) < LIMIT


def test_annealing_of_two_modes():
    m = two_modes(tilt=0.1)
    got = logz.ais(m, 200, 2000, 0, base="uniform", reverse=True)
    assert abs(float((got.value - boltzmann_exact.log_z(m)) / got.error)) < LIMIT
    assert abs(float((got.upper - boltzmann_exact.log_z(m)) / got.upper_error)) < LIMIT


def test_weights_of_many_steps_are_not_rounded_to_one_side(monkeypatch):
    """Ten thousand roundings of float32 that leaned to one side would be nats of no error bar:
    against float64.

    More units than factors of one product. A product of ratios in the place of the ratio of
    products is off by 2e-3.
    """
    plain = {}
    weigh = annealing._Chains.weigh

    def both(self, low, high):
        c2 = self.c2.double()
        field = self.field.double()
        exact = torch.nn.functional.softplus(c2 + high * field) - torch.nn.functional.softplus(
            c2 + low * field
        )
        plain["log_w"] = plain.get("log_w", 0.0) + exact.sum(-1)
        return weigh(self, low, high)

    monkeypatch.setattr(annealing._Chains, "weigh", both)
    m = machine(1, n1=20, n2=100, scale=0.5, seed=3, dtype=torch.float32)
    assert m.b2.shape[-1] > annealing.FACTORS
    got = logz.ais(m, 4000, 4, 0, base="biases", keep=True)
    assert (got.log_w.T - plain["log_w"]).abs().max() < 2e-4
