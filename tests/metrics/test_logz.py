"""log Z: annealing both ways and tempering against enumeration, unbiased, honest about their errors, any chunking."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from kit import machines

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z import annealing, tempering
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.partition import generators, groups, log_mean
from vaebench.rng.noise import dithered

LIMIT = 4.75
"""|z| of one comparison; exceeded by chance once in 490,000."""


machine = partial(machines.machine, n1=6, n2=6)


def two_modes(n=6, coupling=3.0, tilt=0.0):
    """All zeros and all ones, of log-weights 0 and 2 n tilt, and a barrier of many nats between them."""
    bias = torch.full((n,), -coupling * n / 2 + tilt, dtype=torch.float64)
    return RBM(bias, bias.clone(), torch.full((n, n), coupling, dtype=torch.float64))


BASES = {
    "uniform": "uniform",
    "biases": "biases",
    "given": (torch.linspace(-1, 1, 6), torch.tensor(0.3, dtype=torch.float64)),
}


def test_exact():
    m = machine(2, 2, n1=3, n2=5)
    _, _, log_p = boltzmann_exact.log_probs(m)
    zero = torch.zeros(1, 2, 2, 3).double(), torch.zeros(1, 2, 2, 5).double()
    wanted = -log_p[0]  # the first state is all zeros, whose energy is zero
    assert torch.equal(m.negative_energy(*zero), torch.zeros(1, 2, 2).double())
    got = logz.exact(m.to(torch.float32))
    assert got.value.dtype == torch.float64
    assert torch.allclose(logz.exact(m).value, wanted, atol=1e-11)
    assert torch.allclose(got.value, wanted, atol=1e-5)
    assert torch.equal(got.upper, got.value)
    assert not got.error.any()


def test_the_mean_of_weights_its_error_and_effective_number():
    log_w = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 5000
    w = (log_w - 5000).exp()
    value, error, ess = log_mean(log_w)
    assert torch.allclose(value, w.mean(0).log() + 5000)
    left = torch.stack([torch.cat([w[:i], w[i + 1 :]]).mean(0).log() for i in range(50)])
    assert torch.allclose(error, (49 * left.var(0, unbiased=False)).sqrt())
    assert torch.allclose(ess, w.sum(0) ** 2 / (w * w).sum(0))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("sweeps", "dtype"), [(1, torch.float64), (2, torch.float32)])
def test_annealing_is_unbiased_however_few_the_temperatures(base, sweeps, dtype):
    """Three crude steps: mean w / Z is 1 within its error, in both directions; in logs the error is small enough."""
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
    """The recipe in the plainest words, machine by machine, with the same noise; that of many chains is cheap."""
    monkeypatch.setattr(annealing, "MANY", 0 if cheap else 106)
    machines, (c1, c2), k, steps = machine(2, n1=4, n2=3, seed=9), (torch.tensor(0.5), torch.tensor(-0.2)), 15, 4
    got = logz.ais(machines, steps, k, 0, base=(c1, c2), sweeps=sweeps, keep=True)
    for i in range(2):
        m = RBM(*(p[i] for p in machines))
        (maker,) = generators(range(i, i + 1), 0, "eval", 0, torch.device("cpu"))

        def draw(maker=maker):
            plain = torch.rand(k, 7, generator=maker, dtype=torch.float64) if not cheap else dithered((k, 7), maker)
            return plain.double().split([4, 3], 1)

        def at(t, m=m):
            return RBM((1 - t) * c1 + t * m.b1, (1 - t) * c2 + t * m.b2, t * m.w)

        z1, log_w = (draw()[0] < torch.sigmoid(c1)).double(), torch.zeros(k).double()
        for step in range(1, steps + 1):
            log_w += at((step - 1) / steps).free_energy1(z1) - at(step / steps).free_energy1(z1)
            for _ in range(sweeps):
                u1, u2 = draw()
                z2 = (u2 < at(step / steps).mean2(z1)).double()
                z1 = (u1 < at(step / steps).mean1(z2)).double()
        assert torch.allclose(got.log_w[:, i], log_w, atol=1e-11)
        assert torch.equal(got.z1[:, i], z1)
        assert torch.equal(got.z2[:, i], z2)


def test_groups_of_machines():
    assert list(groups(5, 10, 25)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(groups(2, 10, 9)) == [slice(0, 1), slice(1, 2)]


@pytest.mark.parametrize("base", ["uniform", "biases"])
def test_the_stated_error_is_the_error(base):
    """Over 300 machines the variance of z is 1 within 5 times sqrt(2 / 300), and its mean 0, for both bounds."""
    m = machine(300, n1=4, n2=5, scale=0.7, seed=2)
    wanted = logz.exact(m).value
    got = logz.ais(m, 12, 200, 1, base=base, reverse=True)
    for value, error in ((got.value, got.error), (got.upper, got.upper_error)):
        z = (value - wanted) / error
        assert float(z.var()) == pytest.approx(1.0, abs=0.41)
        assert float(z.mean()) == pytest.approx(0.0, abs=0.29)


def test_few_chains_enclose_log_z():
    """Means over 1,000 copies: each bound is off by about half the squared relative error of its weights."""
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
    with pytest.raises(ValueError, match=r"samples for the reverse run have the shape \(3000, 2, 6\)"):
        logz.ais(m, 5, 100, 0, reverse=z2)


def test_machines_too_large_to_enumerate_start_the_reverse_run_at_resampled_ends():
    """Two modes, whose shares the forward run's ends have wrong and their weights right.

    Mean over twelve runs, in its standard errors by Student's t with 11 degrees of freedom: 4.75 is exceeded by chance
    once in 1,700. Without the weights the bound lies 0.36 below log Z.
    """
    m = two_modes(17, 0.5, 0.05)
    wanted = logz.exact(m).value
    m = RBM(*(p.expand(12, *p.shape) for p in m))
    got = logz.ais(m, 30, 1000, 0, base="uniform", reverse=True, keep=True)
    assert got.upper_exact is False
    plain = logz.ais(m, 30, 1000, 0, base="uniform", reverse=got.z1)
    right, low = ((g.upper - wanted).mean() / ((g.upper - wanted).std() / 12**0.5) for g in (got, plain))
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
        assert all(torch.allclose(getattr(got, n), getattr(wanted, n), rtol=0, atol=1e-9) for n in names)
    for i in range(2):
        for j in range(3):
            alone = RBM(*(p[i, j] for p in m))
            got = logz.ais(alone, 10, 20, 0, base="uniform", keep=True, reverse=reverse, first=3 * i + j)
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
        assert torch.allclose(logz.ais(m, 9, 20, 0, base=base).value, logz.ais(m, 9, 20, 0, base=same).value)
    assert not torch.isclose(logz.ais(m, 9, 20, 0, base="uniform").value, logz.ais(m, 9, 20, 0).value).any()


def test_final_states_and_weights():
    """Weighted, they have the exact means after any number of temperatures; unweighted, only after many."""
    m = machine(n1=6, n2=6, scale=0.8, seed=7)
    exact = m.moments()
    wanted = torch.cat([exact.mean1, exact.mean2, exact.mean12.flatten()])

    def z_scores(temperatures, weighted):
        got = logz.ais(m, temperatures, 20_000, 0, keep=True)
        assert float(log_mean(got.log_w)[1]) == float(got.error)
        assert {*got.z1.unique().tolist(), *got.z2.unique().tolist()} == {0.0, 1.0}
        f = torch.cat([got.z1, got.z2, (got.z1[:, :, None] * got.z2[:, None, :]).flatten(1)], 1)
        w = (got.log_w - got.log_w.max()).exp()[:, None] if weighted else torch.ones(20_000, 1).double()
        share = w * (f - wanted) / w.mean()
        return float((share.mean(0) / share.std(0) * math.sqrt(20_000)).abs().max())

    assert z_scores(3, True) < LIMIT
    assert z_scores(2, False) > 10
    assert z_scores(100, False) < LIMIT


def test_without_couplings_every_method_is_exact():
    m = machine(2, n1=5, n2=3)
    m = m._replace(w=torch.zeros_like(m.w))
    wanted = logz.exact(m).value
    results = [logz.ais(m, 5, 10, 0, reverse=True), logz.parallel_tempering(m, 5, 4, 0)]
    for got in results:
        assert torch.allclose(got.value, wanted, rtol=0, atol=1e-12)
        assert got.error.abs().max() < 1e-12
    assert torch.allclose(results[0].upper, wanted, rtol=0, atol=1e-12)
    assert torch.allclose(results[0].ess, torch.tensor(10.0).double())


def test_tempering_of_two_modes_that_a_single_chain_never_joins():
    m, k = two_modes(tilt=0.1), 200
    exact = m.moments()
    u2, u1 = torch.rand(2, 60, k, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z1, _ = m.gibbs(torch.zeros(k, 6).double(), u2, u1)
    assert float(exact.mean1[0]) > 0.75
    assert float(z1.mean()) < 0.05
    got = logz.parallel_tempering(m, 150, 60, 0, base="uniform")
    assert abs(float((got.value - exact.log_z) / got.error)) < LIMIT
    assert float(got.error) < 0.1
    assert len(got.temperatures[0]) >= 4
    single = -float(m.free_energy1(torch.zeros(1, 6).double()))
    assert float(exact.log_z) - single > 10 * float(got.error)  # the mode of zeros alone would be seen


def test_annealing_of_two_modes():
    m = two_modes(tilt=0.1)
    got = logz.ais(m, 200, 2000, 0, base="uniform", reverse=True)
    assert abs(float((got.value - m.log_z()) / got.error)) < LIMIT
    assert abs(float((got.upper - m.log_z()) / got.upper_error)) < LIMIT


def test_the_error_of_tempering_is_honest():
    """60 machines (20 parameters, 3 seeds): variance of z is 1 within 5 times sqrt(2 / 60), and a t-like tail."""
    m = machine(20, n1=3, n2=4, scale=1.5, seed=8)
    wanted = logz.exact(m).value
    z = []
    for seed, base in enumerate(("uniform", "biases", (torch.ones(3), -torch.ones(4)))):
        got = logz.parallel_tempering(m, 15, 40, seed, base=base, pilot=10, burn=2)
        z.append((got.value - wanted) / got.error)
        assert (got.error < 0.2).all()
        assert (got.error > 0).all()
    z = torch.cat(z)
    assert float(z.var()) == pytest.approx(1.0, abs=0.9)
    assert float(z.mean()) == pytest.approx(0.0, abs=0.65)


def test_neighbours_exchange_within_the_band():
    m = two_modes()
    got = logz.parallel_tempering(m, 40, 60, 0, base="uniform", band=(0.5, 0.8))
    (rates,), (t,) = got.swap_rates, got.temperatures
    assert len(t) == len(rates) + 1 > 4
    assert (t.diff() > 0).all()
    assert (float(t[0]), float(t[-1])) == (0.0, 1.0)
    assert rates.min() > 0.4  # pilot runs see them with an error
    assert rates.max() < 0.9


def test_exchanges_keep_the_distribution_and_carry_states_along():
    """Samples at t = 1 of all ladders: the share of the mode of ones, to which only exchanges lead."""
    m = two_modes(n=4, tilt=0.05)
    ladder = tempering._Ladder(
        m, m._replace(b1=m.b1 * 0, b2=m.b2 * 0, w=m.w * 0), 400, torch.Generator().manual_seed(0)
    )
    ladder.place(0.4, 0.8, 20)
    for i in range(60):
        ladder.step(i)
    share = ladder.z1[:, -1].mean(0)
    p = m.moments().mean1
    assert ((share - p) / (p * (1 - p) / 400).sqrt()).abs().max() < LIMIT


def test_temperatures_that_are_not_needed_go():
    m = machine(n1=4, n2=3, scale=0.5, seed=10)
    ladder = tempering._Ladder(m, m._replace(w=m.w * 0), 50, torch.Generator().manual_seed(0))
    ladder.t, ladder.z1 = torch.linspace(0, 1, 20, dtype=torch.float64), ladder.z1[:, :1].expand(-1, 20, -1)
    ladder.heat()
    ladder.place(0.4, 0.8, 10)
    assert len(ladder.t) <= 3


def test_bridge_between_gaussians():
    """u normal with mean a and variance v below has mean a + v above, and log Z' / Z = a + v / 2."""
    g = torch.Generator().manual_seed(0)
    a, v = torch.tensor([0.5, -30.0]), torch.tensor([1.0, 4.0])
    draws = torch.randn(2, 50_000, 2, generator=g, dtype=torch.float64) * v.sqrt()
    got = tempering.bennett(draws[0] + a, draws[1] + a + v)
    assert torch.allclose(got, (a + v / 2).double(), atol=0.03)
    constant = torch.full((4, 1), 1.25, dtype=torch.float64)
    assert float(tempering.bennett(constant, constant)) == pytest.approx(1.25, abs=1e-15)


def test_temperatures_share_the_barrier():
    t = torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64)
    got = tempering.spread(t, torch.tensor([0.2, 0.6], dtype=torch.float64), 0.6)  # rejections .8 and .4: 3 times .4
    assert torch.allclose(got, torch.tensor([0.0, 0.1, 0.2, 1.0], dtype=torch.float64))
    assert tempering.spread(t, torch.ones(2, dtype=torch.float64), 0.6).tolist() == [0.0, 1.0]


def test_tempering_depends_on_position_only():
    m = machine(2, n1=4, n2=3)
    wanted = logz.parallel_tempering(m, 10, 5, 0, pilot=6)
    alone = logz.parallel_tempering(RBM(*(p[1] for p in m)), 10, 5, 0, pilot=6, first=1)
    assert wanted.value.shape == wanted.error.shape == (2,)
    assert alone.value.shape == ()
    assert float(alone.value) == pytest.approx(float(wanted.value[1]), abs=1e-12)
    assert logz.parallel_tempering(m.to(torch.float32), 10, 5, 0, pilot=6).value.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: logz.ais(m, 0, 10, 0), "0 temperatures, 10 chains, 1 sweeps"),
        (lambda m: logz.ais(m, 5, 1, 0), "1 chains"),
        (lambda m: logz.ais(m, 5, 10, 0, base="flat"), "base 'flat' is neither 'uniform' nor 'biases'"),
        (lambda m: logz.ais(m, 5, 10, 0, purpose="evl"), "purpose 'evl'"),
        (lambda m: logz.parallel_tempering(m, 5, 1, 0), "5 sweeps, 1 chains"),
        (lambda m: logz.parallel_tempering(m, 5, 10, 0, band=(0.8, 0.4)), "band of exchange rates is 0.8 to 0.4"),
        (lambda m: logz.exact(RBM(torch.zeros(21), torch.zeros(21), torch.zeros(21, 21))), "cannot be enumerated"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(machine())


def test_weights_of_many_steps_are_not_rounded_to_one_side(monkeypatch):
    """Ten thousand roundings of float32 that leaned to one side would be nats of no error bar: against float64.

    More units than factors of one product. A product of ratios in the place of the ratio of products is off by 2e-3.
    """
    plain, weigh = {}, annealing._Chains.weigh

    def both(self, low, high):
        c2, field = self.c2.double(), self.field.double()
        exact = torch.nn.functional.softplus(c2 + high * field) - torch.nn.functional.softplus(c2 + low * field)
        plain["log_w"] = plain.get("log_w", 0.0) + exact.sum(-1)
        return weigh(self, low, high)

    monkeypatch.setattr(annealing._Chains, "weigh", both)
    m = machine(1, n1=20, n2=100, scale=0.5, seed=3, dtype=torch.float32)
    assert m.b2.shape[-1] > annealing.FACTORS
    got = logz.ais(m, 4000, 4, 0, base="biases", keep=True)
    assert (got.log_w.T - plain["log_w"]).abs().max() < 2e-4
