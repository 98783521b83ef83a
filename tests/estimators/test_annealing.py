"""log Z by annealing in both directions: unbiased, with an honest error, equal to the recipe step
by step, and the same in any chunks."""

from __future__ import annotations

import math

import pytest
import torch
from kit.rbms import LIMIT, normal_rbm, two_modes

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
    """With three crude steps the mean of w / Z is 1 within its error, in both directions. The error
    is small enough to compare the logs instead."""
    m = normal_rbm(3, n1=6, n2=6, scale=0.8, seed=1, dtype=dtype)
    expected = logz.exact(m).value

    got = logz.ais(m, 3, 20_000, 0, base=BASES[base], sweeps=sweeps, reverse=True)

    assert got.upper_exact

    for value, error in ((got.value, got.error), (got.upper, got.upper_error)):
        assert value.dtype == error.dtype == torch.float64
        # The weights do vary, so the z below is of noise, and they vary little enough for logs.
        assert (error > 1e-3).all()
        assert (error < 0.05).all()
        assert ((value - expected) / error).abs().max() < LIMIT


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("cheap", [False, True])
def test_annealing_step_by_step(monkeypatch, sweeps, cheap):
    """The recipe written out for one machine at a time, with the same noise. For many numbers this
    comes from the cheaper ``dithered``."""
    # A sweep of a machine draws 15 x 7 = 105 numbers, which is just below the second limit.
    monkeypatch.setattr(annealing, "MANY", 0 if cheap else 106)
    machines = normal_rbm(2, n1=4, n2=3, seed=9)
    c1 = torch.tensor(0.5)
    c2 = torch.tensor(-0.2)
    k = 15
    steps = 4

    got = logz.ais(machines, steps, k, 0, base=(c1, c2), sweeps=sweeps, keep=True)

    for i in range(2):
        m = RBM(*(p[i] for p in machines))
        (generator,) = generators(range(i, i + 1), 0, "eval", 0, torch.device("cpu"))

        def draw(generator=generator):
            numbers = (
                torch.rand(k, 7, generator=generator, dtype=torch.float64)
                if not cheap
                else dithered((k, 7), generator)
            )
            return numbers.double().split([4, 3], 1)

        # The machine at inverse temperature t.
        def at(t, m=m):
            return RBM((1 - t) * c1 + t * m.b1, (1 - t) * c2 + t * m.b2, t * m.w)

        z1 = (draw()[0] < torch.sigmoid(c1)).double()
        log_w = torch.zeros(k).double()

        for step in range(1, steps + 1):
            # A chain is weighed where it stands, and only then moved at the new temperature.
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
    """Over 300 machines, z has the variance 1 within 5 times sqrt(2 / 300), and the mean 0 within 5
    times sqrt(1 / 300), for both bounds."""
    m = normal_rbm(300, n1=4, n2=5, scale=0.7, seed=2)
    expected = logz.exact(m).value

    got = logz.ais(m, 12, 200, 1, base=base, reverse=True)

    for value, error in ((got.value, got.error), (got.upper, got.upper_error)):
        z = (value - expected) / error
        assert float(z.var()) == pytest.approx(1.0, abs=0.41)
        assert float(z.mean()) == pytest.approx(0.0, abs=0.29)


def test_few_chains_enclose_log_z():
    """Each bound is off by about half the squared relative error of its weights, as means over
    1,000 copies of a machine show."""
    m = RBM(*(p.expand(1000, *p.shape) for p in normal_rbm(n1=5, n2=4, scale=1.2, seed=3)))
    expected = logz.exact(m).value[0]

    got = logz.ais(m, 1, 2, 0, reverse=True)

    for gap in (expected - got.value, got.upper - expected):
        assert float(gap.mean()) > 4 * float(gap.std()) / math.sqrt(1000)


def test_upper_bound_from_samples_given():
    m = normal_rbm(2, n1=5, n2=6, seed=4)

    # For each sample: one number that chooses side 1, and six that draw side 2.
    u = torch.rand(3000, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z1, z2 = boltzmann_exact.sample(m, u[..., 0], u[..., 1:])
    expected = logz.exact(m).value

    got = logz.ais(m, 5, 100, 0, reverse=z1)

    assert got.upper_exact is False
    assert ((got.upper - expected) / got.upper_error).abs().max() < LIMIT

    # The second machine, told that it is the second, has the same noise.
    alone = logz.ais(RBM(*(p[1] for p in m)), 5, 100, 0, reverse=z1[:, 1], first=1)
    assert float(alone.upper) == pytest.approx(float(got.upper[1]), abs=1e-9)

    from_wrong_samples = logz.ais(m, 5, 100, 0, reverse=1 - z1)  # not the machine's samples
    assert ((from_wrong_samples.upper - expected) / from_wrong_samples.upper_error).abs().max() > 10
    with pytest.raises(
        ValueError, match=r"samples for the reverse run have the shape \(3000, 2, 6\)"
    ):
        logz.ais(m, 5, 100, 0, reverse=z2)


def test_from_samples_of_one_mode_the_upper_bound_is_of_that_mode():
    """The bound is log Z + log p(A) - log P(A), with p(A) the mass of the mode A and P(A) the share
    of the forward run's chains that end in it.

    A forward path to a state, once it is weighted, is the way back from that state. So the mean of
    1 / w over chains that start in A is (Z_0 / Z) P(A) / p(A). Here A has 15 % of the mass and 87 %
    of the forward chains end in it: the bound is 1.7 nats below log Z.
    """
    m = two_modes(6, 1.0, 0.17)

    # A is the mode of all zeros.
    z1, _, log_p = boltzmann_exact.log_probs(m)
    mass = (log_p.exp() * (z1.mean(-1) < 0.5)).sum()
    u = torch.rand(60_000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples, _ = boltzmann_exact.sample(m, u[:, 0], u[:, 1:])
    samples_of_mode = samples[samples.mean(-1) < 0.5]

    # A base of mostly zeros sends most of the chains into A.
    base = torch.tensor(-2.5, dtype=torch.float64), torch.tensor(-2.5, dtype=torch.float64)

    got = logz.ais(m, 8, 60_000, 0, base=base, reverse=samples_of_mode, keep=True)

    ended_there = (got.z1.mean(-1) < 0.5).double().mean()
    expected = logz.exact(m).value + mass.log() - ended_there.log()

    # The second part is the standard error of log P(A), a share counted on the chains.
    error = math.hypot(
        float(got.upper_error),
        math.sqrt((1 - float(ended_there)) / float(ended_there) / len(got.z1)),
    )

    assert abs(float(got.upper - expected)) < LIMIT * error
    assert float(got.upper) < float(logz.exact(m).value) - 1.5


def test_machines_too_large_to_enumerate_start_the_reverse_run_at_resampled_ends():
    """The ends of the forward run fall into two modes in wrong shares, which their weights correct.

    z is that of a mean over twelve runs (Student's t, 11 degrees of freedom): it exceeds 4.75 by
    chance once in 1,700 seeds. Without the weights the bound lies 0.36 below log Z.
    """
    m = two_modes(17, 0.5, 0.05)
    expected = logz.exact(m).value
    m = RBM(*(p.expand(12, *p.shape) for p in m))

    got = logz.ais(m, 30, 1000, 0, base="uniform", reverse=True, keep=True)

    assert got.upper_exact is False

    unweighted = logz.ais(m, 30, 1000, 0, base="uniform", reverse=got.z1)
    z_resampled, z_unweighted = (
        (log_z.upper - expected).mean() / ((log_z.upper - expected).std() / 12**0.5)
        for log_z in (got, unweighted)
    )

    assert abs(z_resampled) < LIMIT
    assert z_unweighted < -LIMIT


@pytest.mark.parametrize("reverse", [False, True])
def test_results_do_not_depend_on_chunking(reverse):
    m = normal_rbm(2, 3, n1=4, n2=3, seed=6)
    expected = logz.ais(m, 10, 20, 0, base="uniform", keep=True, reverse=reverse)

    assert expected.value.shape == expected.error.shape == expected.ess.shape == (2, 3)
    assert expected.z1.shape == (20, 2, 3, 4)
    assert expected.z2.shape == (20, 2, 3, 3)
    assert expected.log_w.shape == (20, 2, 3)

    names = ["value", "error", "ess", "z1", "z2", "log_w"] + ["upper", "upper_error"] * reverse

    # One machine at a time, four, and all six.
    for max_floats in (1, 20 * 7 * 4, 10**6):
        got = logz.ais(
            m, 10, 20, 0, base="uniform", keep=True, reverse=reverse, max_floats=max_floats
        )
        assert all(
            torch.allclose(getattr(got, n), getattr(expected, n), rtol=0, atol=1e-9) for n in names
        )

    for i in range(2):
        for j in range(3):
            alone = RBM(*(p[i, j] for p in m))
            got = logz.ais(
                alone, 10, 20, 0, base="uniform", keep=True, reverse=reverse, first=3 * i + j
            )
            for n in names:
                of_machine = getattr(expected, n)
                of_machine = (
                    of_machine[i, j] if n not in ("z1", "z2", "log_w") else of_machine[:, i, j]
                )
                assert torch.allclose(getattr(got, n), of_machine, rtol=0, atol=1e-9)

    other_seed = logz.ais(m, 10, 20, 1, base="uniform")
    assert not torch.isclose(other_seed.value, expected.value).any()

    of_copies = logz.ais(
        RBM(*(p[:1, :1].expand(p.shape) for p in m)), 10, 20, 0, base="uniform"
    ).value
    assert len(of_copies.unique()) == 6  # equal machines have noise of their own


def test_equal_bases_by_different_names():
    m = normal_rbm(2, n1=4, n2=3)
    for base, biases in (("uniform", (torch.zeros(4), torch.zeros(3))), ("biases", (m.b1, m.b2))):
        assert torch.allclose(
            logz.ais(m, 9, 20, 0, base=base).value, logz.ais(m, 9, 20, 0, base=biases).value
        )

    assert not torch.isclose(
        logz.ais(m, 9, 20, 0, base="uniform").value, logz.ais(m, 9, 20, 0).value
    ).any()


def test_final_states_and_weights():
    """Weighted final states have the exact means after any number of temperatures. Unweighted ones
    have them only after many."""
    m = normal_rbm(n1=6, n2=6, scale=0.8, seed=7)
    exact = boltzmann_exact.moments(m)
    expected = torch.cat([exact.mean1, exact.mean2, exact.mean12.flatten()])

    def z_scores(temperatures, weighted):
        got = logz.ais(m, temperatures, 20_000, 0, keep=True)
        assert float(log_mean(got.log_w)[1]) == float(got.error)
        assert {*got.z1.unique().tolist(), *got.z2.unique().tolist()} == {0.0, 1.0}

        # Both sides' bits, then all products of a bit of each.
        f = torch.cat([got.z1, got.z2, (got.z1[:, :, None] * got.z2[:, None, :]).flatten(1)], 1)
        w = (
            (got.log_w - got.log_w.max()).exp()[:, None]
            if weighted
            else torch.ones(20_000, 1).double()
        )

        # The error of the ratio sum(w f) / sum(w) is, by the delta method, the mean of these.
        deviations = w * (f - expected) / w.mean()
        return float((deviations.mean(0) / deviations.std(0) * math.sqrt(20_000)).abs().max())

    assert z_scores(3, True) < LIMIT
    assert z_scores(2, False) > 10
    assert z_scores(100, False) < LIMIT


def test_annealing_of_two_modes():
    m = two_modes(tilt=0.1)
    got = logz.ais(m, 200, 2000, 0, base="uniform", reverse=True)

    assert abs(float((got.value - boltzmann_exact.log_z(m)) / got.error)) < LIMIT
    assert abs(float((got.upper - boltzmann_exact.log_z(m)) / got.upper_error)) < LIMIT


def test_weights_of_many_steps_are_not_rounded_to_one_side(monkeypatch):
    """Log-weights against those of the same chains in float64: thousands of roundings that lean to
    one side would add up to an error that no error bar shows.

    Side 2 has more units than one product may have factors. A product of ratios in place of the
    ratio of products would be off by 2e-3.
    """
    in_float64 = {}
    weigh = annealing._Chains.weigh

    def both(self, low, high):
        # F_high - F_low: side 1's term, z1.(b1 - c1), is 0 if the base has the machine's biases.
        c2 = self.c2.double()
        field = self.field.double()
        exact = torch.nn.functional.softplus(c2 + high * field) - torch.nn.functional.softplus(
            c2 + low * field
        )
        in_float64["log_w"] = in_float64.get("log_w", 0.0) + exact.sum(-1)
        return weigh(self, low, high)

    monkeypatch.setattr(annealing._Chains, "weigh", both)
    m = normal_rbm(1, n1=20, n2=100, scale=0.5, seed=3, dtype=torch.float32)

    assert m.b2.shape[-1] > annealing.FACTORS

    got = logz.ais(m, 4000, 4, 0, base="biases", keep=True)
    assert (got.log_w.T - in_float64["log_w"]).abs().max() < 2e-4
