"""The annealed NLL of Boltzmann machines over the data, against enumeration; failures of
annealing are flagged.

A z-score is above 4.75 by chance once in 490,000 times. Seeds are fixed.
"""

from __future__ import annotations

import math

import pytest
import torch
from kit.parameters import drawn
from kit.recorded_calls import recorded_calls

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z import spacing
from vaebench.evaluation.evaluate import evaluate
from vaebench.metrics import rbm_nll
from vaebench.metrics.validation import validation_bound
from vaebench.protocol import log_z as protocol
from vaebench.results import flags

LIMIT = 4.75
D = 8
UNITS = 5


def rbm(seed=0, scale=1.0, bias=None):
    """A machine with random couplings. The training mean that it is given is its own exact mean."""
    model = models.build({"name": "rbm", "units": UNITS}, DataInfo(torch.full((D,), 0.5).numpy()))
    drawn(model, scale, seed)

    if bias is not None:
        model.p["visible"].data.copy_(bias)

    model.double().requires_grad_(False)

    # Annealing begins at the base rates of this mean.
    model.mean.copy_(boltzmann_exact.moments(model.rbm()).mean1)
    return model


def log_p(model, x):
    """log p(x) of every case from the table of all joint states."""
    z1, _, joint = boltzmann_exact.log_probs(model.rbm())

    # Row i marks the joint states whose visible side is case i.
    same = (x.unsqueeze(1) == z1.unsqueeze(0)).all(-1)
    return torch.stack([torch.logsumexp(joint[row], 0) for row in same])


def config(**ev):
    settings = {
        "split": "test",
        "points": None,
        "iw_samples": None,
        "logz_method": "ais",
        "logz_temperatures": 150,
        "logz_chains": 200,
        "logz_base": "base_rate",
        "logz_spacing": "late",
    }
    return {
        "data": {"name": "digits"},
        "model": {"name": "rbm", "units": UNITS},
        "train": {"select": "last", "cases": None},
        "recipe": 1,
        "eval": {**settings, **ev},
    }


def measured(model, x, seed=0, **ev):
    return {m.name: m for m in evaluate(model, x, config(**ev), "0" * 16, seed)}


X = boltzmann_exact.states(D, torch.zeros(0))[::5]


@pytest.mark.parametrize("base", ["base_rate", "uniform"])
def test_it_is_the_nll_within_its_error_from_below_and_from_above(base):
    model = rbm(seed=2)
    expected = -float(log_p(model, X.double()).mean())
    z = {"annealed_nll": [], "annealed_nll_reverse": []}

    for seed in range(5):
        measures = measured(model, X.double(), seed, logz_base=base)
        for name, scores in z.items():
            m = measures[name]
            assert m.error == 0.0
            assert 1e-4 < m.extra["log_z_error"] < 0.2
            assert not m.flags

            scores.append((m.value - expected) / m.extra["log_z_error"])

        assert measures["annealed_nll"].extra["ess"] > 20

    for name, scores in z.items():
        assert max(map(abs, scores)) < LIMIT, name


def test_annealing_begins_at_the_smoothed_base_rates(monkeypatch):
    """Rates are smoothed by 0.05 pseudo-examples for each example, whose pixels are on. The three
    pixels are never on, always on, and on in a fifth of the examples."""
    arguments = {}
    ais = logz.ais
    monkeypatch.setattr(logz, "ais", lambda *a, **k: arguments.update(k) or ais(*a, **k))
    model = rbm()
    model.mean[:3] = torch.tensor([0.0, 1.0, 0.2])
    measured(model, X.double(), logz_temperatures=2, logz_chains=3)
    visible, hidden = arguments["base"]
    rates = torch.sigmoid(visible[:3]).tolist()

    assert rates == pytest.approx([0.05 / 1.05, 1.0 / 1.0, 0.25 / 1.05], abs=2e-6)
    assert not hidden.any()


def test_the_gap_has_the_errors_of_both_directions():
    measures = measured(rbm(seed=2), X.double())
    below = measures["annealed_nll"]
    above = measures["annealed_nll_reverse"]
    errors = below.extra["log_z_error"], above.extra["log_z_error"]

    assert min(errors) > 1e-3

    for m in (below, measures["log_z"]):
        assert m.extra["gap_error"] == pytest.approx(math.sqrt(errors[0] ** 2 + errors[1] ** 2))
        assert m.extra["gap"] == pytest.approx(above.value - below.value)

    assert below.extra["log_z"] == measures["log_z"].value
    assert above.extra["log_z"] == measures["log_z_reverse"].value != measures["log_z"].value
    assert (measures["log_z"].error, measures["log_z_reverse"].error) == errors


def test_up_to_twenty_hidden_units_it_is_exact():
    model = rbm()
    m = measured(model, X.double(), logz_method="auto")["annealed_nll"]
    exact = log_p(model, X.double())

    assert m.value == pytest.approx(-float(exact.mean()), abs=1e-9)
    assert m.extra["log_z_error"] == 0.0
    assert m.extra["spread"] == pytest.approx(float(exact.std()) / math.sqrt(len(X)))
    assert "logz:exact" in m.signature


def test_a_start_far_from_the_machine_is_too_good_and_flagged():
    """A uniform base knows nothing of strong visible biases: with few steps, the weights of a few
    chains outweigh all others."""
    bias = torch.tensor([7.0, -7.0]).repeat(D // 2)
    model = rbm(seed=1, bias=bias)
    x = (model.mean > 0.5).double().repeat(4, 1)
    expected = -float(log_p(model, x).mean())

    failed = measured(model, x, logz_base="uniform", logz_temperatures=2, logz_spacing="even")
    m = failed["annealed_nll"]

    assert m.extra["ess"] < 0.1 * m.extra["chains"]
    assert flags.kinds(m.flags) == (flags.ANNEALING,)
    assert flags.kinds(failed["log_z"].flags) == (flags.ANNEALING,)
    assert flags.ANNEALING in flags.FAULTS

    from_base_rate = measured(model, x, logz_temperatures=2, logz_spacing="even")["annealed_nll"]
    assert not from_base_rate.flags
    assert from_base_rate.value == pytest.approx(
        expected, abs=LIMIT * from_base_rate.extra["log_z_error"]
    )


def test_the_reverse_run_starts_at_samples_of_the_machine(monkeypatch):
    """Means of 20,000 chains after 30 sweeps, all from two cases. This machine forgets its start
    after a few sweeps."""
    monkeypatch.setattr(rbm_nll, "BURN", 30)
    model = rbm(seed=2)
    states = rbm_nll.relaxed(model, X[:2].double(), 20_000, 0)

    assert states.shape == (20_000, D)

    mean = boltzmann_exact.moments(model.rbm()).mean1
    z = (states.mean(0) - mean) / (mean * (1 - mean) / len(states)).sqrt()

    assert float(z.abs().max()) < LIMIT


def test_the_flag_begins_below_a_tenth_of_the_chains():
    model = rbm()
    m = measured(model, X.double())["annealed_nll"]

    for ess, flagged in ((19.9, True), (20.0, False)):
        m.extra["ess"] = ess
        assert (flags.ANNEALING in flags.kinds(flags.derived(m))) is flagged

    # A gap counts beyond 0.5 nats and three of its errors, 0.8 in all.
    m.extra["gap_error"] = 0.1
    for gap, flagged in ((0.81, True), (-0.81, True), (0.79, False)):
        m.extra["gap"] = gap
        assert (flags.ANNEALING in flags.kinds(flags.derived(m))) is flagged


def test_temperatures_are_as_published():
    times = spacing.late(14_500)

    # 500 steps to 0.5, 4,000 to 0.9, 10,000 to 1.
    expected = [0.001 * i for i in range(500)] + [0.5 + 1e-4 * i for i in range(4000)]
    expected += [0.9 + 1e-5 * i for i in range(10_001)]

    assert times == pytest.approx(expected, abs=1e-12)

    coarse = spacing.late(29)
    assert coarse[0] == 0
    assert coarse[1] == 0.5
    assert coarse[9] == pytest.approx(0.9)
    assert coarse[-1] == 1
    assert spacing.evenly(4) == [0, 0.25, 0.5, 0.75, 1]


def test_annealing_over_given_temperatures_is_unbiased_both_ways():
    generator = torch.Generator().manual_seed(3)
    m = RBM(
        *(
            0.8 * torch.randn(*s, generator=generator, dtype=torch.float64)
            for s in ((6,), (6,), (6, 6))
        )
    )

    log_z = logz.ais(m, [0.0, 0.3, 0.9, 1.0], 20_000, 0, base="uniform", reverse=True)
    exact = float(logz.exact(m).value)

    assert abs(float(log_z.value) - exact) < LIMIT * float(log_z.error) < 0.2
    assert abs(float(log_z.upper) - exact) < LIMIT * float(log_z.upper_error) < 0.2
    assert float(log_z.sd) > 0.1

    even_steps = logz.ais(m, spacing.evenly(7), 50, 0)
    assert torch.equal(even_steps.value, logz.ais(m, 7, 50, 0).value)

    for bad_times in ([0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.6, 0.5, 1.0]):
        with pytest.raises(ValueError, match=r"rise from 0 to 1|at least 1"):
            logz.ais(m, bad_times, 50, 0)


def test_a_validation_is_the_same_number_by_fewer_temperatures():
    model = rbm(seed=2)
    nll = validation_bound(model, X.double(), 1, 0, {"temperatures": 200, "chains": 300})

    # Few units: exact.
    assert nll == pytest.approx(-float(log_p(model, X.double()).mean()), abs=1e-9)


def test_a_validation_anneals_a_machine_that_is_too_large_to_enumerate(monkeypatch):
    """As if five hidden units were too many. The value is within LIMIT errors of the exact one, and
    is that of the seed and the purpose that are asked for."""
    model = rbm(seed=2)
    expected = -float(log_p(model, X.double()).mean())
    monkeypatch.setattr(protocol, "MAX_SIDE", 1)

    calls = recorded_calls(monkeypatch, logz, "ais")
    nll = validation_bound(model, X.double(), 1, 3, {"temperatures": 50, "chains": 100})
    (((_, times, chains, seed), options, estimate),) = calls

    assert (times, chains, seed) == (spacing.late(50), 100, 3)
    assert (options["purpose"], options["reverse"]) == ("valid_logz", False)
    assert 1e-3 < float(estimate.error) < 0.1
    assert abs(nll - expected) < LIMIT * float(estimate.error)


def test_the_protocol_says_how_log_z_was_found():
    assert protocol.log_z_parts(config(), "annealed_nll") == ["logz:ais-150x200-base_rate-late"]
    assert protocol.log_z_parts(config(logz_base="uniform"), "annealed_nll") == [
        "logz:ais-150x200-late"
    ]

    exact = config(logz_method="auto")
    assert protocol.log_z_parts(exact, "log_z") == ["logz:exact"]

    large = {**exact, "model": {"name": "rbm", "units": 500}}
    assert protocol.log_z_parts(large, "log_z") == ["logz:ais-150x200-base_rate-late"]
    with pytest.raises(UserError, match="500 units"):
        protocol.check_log_z({**large, "eval": {**exact["eval"], "logz_method": "exact"}})
    with pytest.raises(UserError, match="allowed here: uniform"):
        protocol.check_log_z({**exact, "model": {"name": "sbn"}})
