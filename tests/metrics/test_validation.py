"""What selects a checkpoint: the bound for normalised models, and a value with log Z in it for the
others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench import models
from vaebench.check import checks as check
from vaebench.data.examples import every_nth
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import boltzmann_exact
from vaebench.estimators import enumeration, exact
from vaebench.estimators.mutual_information import batchwise
from vaebench.estimators.posteriors import posteriors
from vaebench.estimators.variational import bound
from vaebench.estimators.weights import stream
from vaebench.metrics import log_z
from vaebench.metrics.validation import validation, validation_bound
from vaebench.rng import seeds

SETTINGS = {"temperatures": 50, "chains": 200}


def tiny(name, seed=1, **settings):
    return check.tiny({"name": name, **settings}, seed=seed, scale=0.6).requires_grad_(False)


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE).repeat(5, 1)


def test_normalised_models_keep_their_bound(x):
    model = tiny("sbn", dims=[2, 3])
    assert validation_bound(model, x, 10, 3, {}) == -bound(model, x, 10, 3, "valid").value


def test_log_z_is_subtracted_once(x):
    """Each side of the prior has few bits, so log Z is exact. The rest is the log-mean-exp of the
    weights."""
    model = tiny("rbm_vae", latents=4, groups=2, layers=1, units=3)
    log_w = torch.zeros(20, len(x)).double()

    for part in stream(model, x, 20, 3, "valid"):
        log_w[part.first : part.first + len(part.log_w), part.cases] = part.log_w

    expected = (
        boltzmann_exact.log_z(model.prior())
        - (torch.logsumexp(log_w, 0) - torch.log(torch.tensor(20.0))).mean()
    )

    # log Z is so large that leaving it out, or taking it twice, would be seen.
    assert abs(float(boltzmann_exact.log_z(model.prior()))) > 0.5
    assert validation_bound(model, x, 20, 3, SETTINGS) == pytest.approx(float(expected), rel=1e-6)
    assert (
        validation_bound(model, x, 20, 3, SETTINGS)
        > -float(exact.log_evidence(model, x).mean()) - 0.02
    )


def test_log_z_is_annealed_where_it_must_be(x, monkeypatch):
    """As if the machine were too large to enumerate: annealing takes the objective's settings."""
    arguments = {}
    model = tiny("rbm_vae", latents=4, groups=1, layers=0, units=3)
    expected = validation_bound(model, x, 20, 3, SETTINGS)
    monkeypatch.setattr("vaebench.protocol.log_z.MAX_SIDE", 1)
    ais = log_z.logz.ais
    monkeypatch.setattr(
        log_z.logz, "ais", lambda *a, **k: arguments.update(a=a, k=k) or ais(*a, **k)
    )

    got = validation_bound(model, x, 20, 3, SETTINGS)
    _, times, *more = arguments["a"]

    # Steps, chains, seed.
    assert (len(times) - 1, *more) == (50, 200, 3)
    assert (arguments["k"]["purpose"], arguments["k"]["reverse"]) == ("valid_logz", False)
    assert got == pytest.approx(expected, abs=0.05)
    assert got != expected  # annealed, not exact


def test_boltzmann_posteriors_are_annealed(x, boltzmann):
    model = boltzmann
    expected = -float(exact.log_evidence(model, x).mean())

    got = validation_bound(model, x, 500, 0, SETTINGS)

    assert got == pytest.approx(expected, abs=0.02)

    # The settings of the posterior reach its annealing, and ``points`` thins the cases.
    few = {**SETTINGS, "posterior_temperatures": 1, "posterior_chains": 3, "points": 4}
    crude = validation_bound(model, x, 500, 0, few)

    assert crude != pytest.approx(got, abs=1e-3)
    assert crude == validation_bound(model, every_nth(x, 4), 3, 0, {**few, "points": None})


def test_points_are_spread_evenly():
    assert every_nth(torch.arange(100), 10).tolist() == list(range(0, 100, 10))
    assert every_nth(torch.arange(7), 3).tolist() == [0, 2, 4]
    assert (
        every_nth(torch.arange(3), 9).tolist()
        == every_nth(torch.arange(3), None).tolist()
        == [0, 1, 2]
    )


def test_without_settings_a_model_is_enumerated(x):
    model = tiny("rbm_generator", latents=4, layers=1, units=3)
    assert validation_bound(model, x, 1, 0, {}) == pytest.approx(
        -float(exact.log_evidence(model, x).mean()), abs=1e-9
    )

    target = tiny("rbm_target", side=2)
    assert validation_bound(target, x, 1, 0, {"exact": True}) == pytest.approx(float(target.kl()))

    large = models.build(
        {"name": "rbm_vae", "latents": 18, "units": 2}, DataInfo(torch.full((4,), 0.5))
    )
    with pytest.raises(ValueError, match="model=rbm_vae has no exact value"):
        validation_bound(large, x, 1, 0, {})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rbm_vae", {"latents": 6, "groups": 2, "layers": 1, "units": 3}),
        ("rbm_posterior", {"latents": 5, "layers": 1, "units": 3}),
    ],
)
def test_exact_nll_is_the_enumeration_that_goes_through_the_joint(name, settings, x, monkeypatch):
    """Two implementations agree, also in chunks of states and of cases that do not divide their
    numbers."""
    model = tiny(name, **settings)
    expected = exact.log_evidence(model, x)

    torch.testing.assert_close(enumeration.log_evidence(model, x), expected, rtol=0, atol=1e-10)

    monkeypatch.setattr(enumeration, "STATES", 7)
    monkeypatch.setattr(enumeration, "CASES", 9)

    torch.testing.assert_close(
        enumeration.log_evidence(model, x.byte()), expected, rtol=0, atol=1e-10
    )
    assert float(
        enumeration.log_evidence(model, exact.states(check.VISIBLE)).exp().sum()
    ) == pytest.approx(1.0)


def test_exact_nll_applies_to_few_bits_only():
    assert boltzmann_exact.MAX_UNITS == enumeration.MAX_UNITS == 16
    assert enumeration.applies(tiny("rbm_vae", latents=16, units=2))
    assert not enumeration.applies(tiny("rbm_vae", latents=18, units=2))
    assert not enumeration.applies(tiny("sbn", dims=[3]))


# ---------------------------------------------------------------------------------------- documents

DOCUMENTS = torch.tensor([[1, 3, 2, 0, 0]] * 3 + [[1, 4, 3, 2, 0]] * 4 + [[1, 3, 4, 4, 2]] * 2)


def text_vae(seed=0):
    model = models.build(
        {"name": "text_vae", "latents": 2, "embedding": 3, "units": 4},
        DataInfo(np.full(5, 0.2), Kind.TOKENS),
    )
    return drawn(model, 0.8, seed)


def test_what_is_watched_has_noise_of_its_own_where_it_decides_and_the_same_where_it_compares():
    model = text_vae()
    settings = {"watch": True, "batch": 3}
    first, again, later = (validation(model, DOCUMENTS, 1, 0, u, settings) for u in (5, 5, 6))

    assert first == again
    # Another number of updates gives other batches, and nothing else changes.
    assert {k for k in first if first[k] != later[k]} == {"valid_mi_batch"}
    assert first["valid_bound"] == -bound(model, DOCUMENTS, 1, 0, "valid").value
    assert set(first) == {
        f"valid_{k}" for k in ("bound", "kl", "mi_batch", "mi", "aggregate_kl", "active_units")
    }
    assert first["valid_kl"] == pytest.approx(first["valid_mi"] + first["valid_aggregate_kl"])


def test_the_batches_of_the_mutual_information_are_those_of_training():
    model = text_vae()
    values = {
        b: validation(model, DOCUMENTS, 1, 0, 5, {"watch": True, "batch": b})["valid_mi_batch"]
        for b in (2, 3, 4)
    }

    assert len(set(values.values())) == 3

    encoded = posteriors(model, DOCUMENTS, seeds.derive(0, "watch", 5), "valid")
    assert (
        values[4]
        == batchwise(encoded, [torch.arange(3), torch.arange(3, 7), torch.arange(7, 9)]).value
    )


def test_more_samples_are_for_the_bound():
    values = validation(text_vae(), DOCUMENTS, 7, 0, 5, {"watch": True, "batch": 3})
    assert values["valid_bound"] == -bound(text_vae(), DOCUMENTS, 7, 0, "valid").value


def test_a_language_model_is_validated_exactly():
    model = models.build(
        {"name": "text_lm", "embedding": 3, "units": 4}, DataInfo(np.full(5, 0.2), Kind.TOKENS)
    )
    values = validation(model, DOCUMENTS, 1, 0, 5, {"exact": True, "batch": 3})

    assert values == {
        "valid_bound": pytest.approx(-model.log_evidence(DOCUMENTS).double().mean().item())
    }
