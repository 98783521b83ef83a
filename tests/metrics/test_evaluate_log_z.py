"""Evaluation of models that need an estimate of log Z: values against enumeration, both errors, the
protocol, old results."""

from __future__ import annotations

import importlib
import json
from dataclasses import fields

import pytest
import torch

from vaebench.check import checks as check
from vaebench.config import catalogue
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.evaluation.evaluate import evaluate
from vaebench.metrics.base import Metric
from vaebench.metrics.log_z import estimate
from vaebench.protocol import log_z, registry, signature
from vaebench.results import flags
from vaebench.results.stats import Measure
from vaebench.settings.records import EvalSettings

EVAL = {
    "bound_samples": 20,
    "iw_samples": 400,
    "split": "test",
    "points": None,
    "logz_method": "auto",
    "logz_temperatures": 200,
    "logz_chains": 100,
    "logz_sweeps": 50,
    "posterior_temperatures": 50,
}
DIRECTED = {"name": "rbm_vae", "latents": 6, "groups": 2, "layers": 1, "units": 3}
POSTERIOR = {"name": "rbm_posterior", "latents": 6, "layers": 0, "units": 3}


def cell(model, **ev):
    shared = {
        "data": {"name": "tiny"},
        "train": {"select": "last", "valid_samples": 5},
        "recipe": 1,
    }
    return {**shared, "model": model, "eval": {**EVAL, **ev}}


def measured(settings, x, model=None, chunk=None, **ev):
    model = model or check.tiny(settings, seed=1, scale=0.6).requires_grad_(False)
    measures = evaluate(model, x, cell(settings, **ev), "0" * 16, seed=0, chunk=chunk)
    return model, {m.name: m for m in measures}


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE).repeat(20, 1)


@pytest.mark.parametrize("settings", [DIRECTED, POSTERIOR], ids=["directed", "posterior"])
def test_values_are_those_of_enumeration(settings, x, boltzmann):
    """z is above 4.5 by chance once in 150,000 seeds. The bias of 400 samples is about half the
    squared relative error."""
    model, got = measured(settings, x, boltzmann if settings is POSTERIOR else None)
    log_p = exact.log_evidence(model, x).mean()
    elbo = exact.elbo(model, x).mean()

    # Bound and likelihood are apart, so confusing the two would be seen.
    assert float(elbo) < float(log_p) - 0.02
    assert (
        abs(got["iw_nll"].value + float(log_p))
        < 4.5 * got["iw_nll"].error + 0.5 / got["iw_nll"].extra["ess_min"]
    )
    assert abs(got["bound"].value + float(elbo)) < 4.5 * got["bound"].error
    assert got["nll"].value == pytest.approx(-float(log_p), rel=1e-9)
    assert got["kl"].value == pytest.approx(float(sum(exact.layer_kl(model, x)).mean()), abs=0.06)
    assert got["log_z"].value == pytest.approx(
        float(boltzmann_exact.log_z(model.prior())), rel=1e-9
    )
    assert got["log_z"].error == got["iw_nll"].extra["log_z_error"] == 0.0
    assert abs(got["log_z"].value) > 0.3  # or its sign would not matter
    assert list(got["iw_nll"].extra["curve"].values())[-1] == got["iw_nll"].value

    if settings is POSTERIOR:
        weighted = got["iw_nll_weighted"]
        assert (
            abs(weighted.value + float(log_p))
            < 4.5 * weighted.error + 0.5 / weighted.extra["ess_min"]
        )
        assert (
            0
            < got["iw_nll"].extra["posterior_log_z_error"]
            <= got["iw_nll"].extra["posterior_log_z_error_max"]
            < 1
        )
        assert len(got["iw_nll"].extra["modes"]) == 5
    else:
        assert "iw_nll_weighted" not in got


def test_the_prior_s_log_z_moves_all_three_and_its_error_stays_apart(x):
    """An annealed log Z in place of the exact one shifts NLL, bound and KL by the same amount."""
    _, exactly = measured(DIRECTED, x, logz_method="exact")
    _, annealed = measured(DIRECTED, x, logz_method="ais", logz_temperatures=3, logz_chains=100)
    shift = annealed["log_z"].value - exactly["log_z"].value

    assert abs(shift) > 1e-3  # or the comparisons below would be of nothing

    for name in ("iw_nll", "bound", "kl"):
        assert annealed[name].value - exactly[name].value == pytest.approx(shift, rel=1e-9)
        assert annealed[name].extra["log_z_error"] == annealed["log_z"].error > 0
        assert annealed[name].error == exactly[name].error

    # What is enumerated, or needs no log Z, is untouched.
    assert annealed["nll"].value == exactly["nll"].value
    assert "log_z_error" not in annealed["active_units"].extra
    assert annealed["log_z"].error_kind == "log Z"


def test_log_z_is_near_the_exact_one_from_below_and_from_above(x):
    """z of 100 chains is above 4.75 by chance once in 490,000 seeds."""
    model, got = measured(DIRECTED, x[:20], logz_method="ais", logz_temperatures=3, logz_chains=100)
    expected = float(boltzmann_exact.log_z(model.prior()))
    below = got["log_z"]
    above = below.extra["upper"]
    error = below.extra["upper_error"]

    # Or being within a few errors would mean nothing.
    assert 0 < below.error < 0.06
    assert 0 < error < 0.06
    assert abs(below.value - expected) < 4.75 * below.error
    assert abs(above - expected) < 4.75 * error


def test_what_contains_a_log_z_whose_annealing_failed_is_flagged_with_it(x):
    """The prior is far from the base: with two temperatures few of the chains carry log Z, with
    2,000 they all do."""
    model = check.tiny(DIRECTED, seed=1, scale=0.6).requires_grad_(False)
    for p in model.p.prior.parameters():
        p.mul_(40.0)

    with_log_z = ("iw_nll", "bound", "kl")
    for temperatures, flagged in ((2, True), (2000, False)):
        _, got = measured(DIRECTED, x, model, logz_method="ais", logz_temperatures=temperatures)
        for name in ("log_z", *with_log_z):
            assert (flags.ANNEALING in flags.kinds(flags.derived(got[name]))) is flagged, name
        for name in with_log_z:
            extra = got[name].extra
            for key in ("ess", "chains", "gap", "gap_error"):
                assert extra[f"log_z_{key}"] == got["log_z"].extra[key]

        assert not flags.derived(got["active_units"])

    _, got = measured(DIRECTED, x, model, logz_method="exact")
    assert not any(flags.derived(got[name]) for name in ("log_z", *with_log_z))


def test_the_error_of_log_z_is_honest(x):
    """The standard deviation of log Z over 60 seeds is the error that the NLL carries.

    60 seeds give it to 9 %, so the 45 % allowed are five of its errors.
    """
    model = check.tiny(DIRECTED, seed=1, scale=0.6).requires_grad_(False)
    settings = {"logz_method": "ais", "logz_temperatures": 10, "logz_chains": 50}

    estimates = [estimate(model.prior(), EvalSettings.of(settings), seed) for seed in range(60)]
    true_error = torch.stack([f.value for f in estimates]).std()
    stated = torch.stack([f.error for f in estimates]).square().mean().sqrt()

    assert float(true_error / stated) == pytest.approx(1.0, abs=0.45)


def test_tempering(x):
    _, exactly = measured(DIRECTED, x, iw_samples=None)
    _, tempered = measured(DIRECTED, x, iw_samples=None, logz_method="tempering", logz_chains=20)

    assert "iw_nll" not in tempered
    assert abs(tempered["log_z"].value - exactly["log_z"].value) < 5 * tempered["log_z"].error
    assert "logz:tempering-50x20" in tempered["bound"].signature


@pytest.mark.parametrize("settings", [DIRECTED, POSTERIOR], ids=["directed", "posterior"])
def test_the_pass_size_changes_nothing(settings, x):
    _, whole = measured(settings, x[:50], iw_samples=40)
    _, in_parts = measured(settings, x[:50], iw_samples=40, chunk=20)

    assert list(whole) == list(in_parts)

    for name, m in whole.items():
        assert in_parts[name].value == pytest.approx(m.value, rel=1e-9), name


def test_too_large_for_enumeration():
    rbm = check.tiny({"name": "rbm_vae", "latents": 42, "units": 2}).prior()
    with pytest.raises(
        UserError, match=r"eval.logz_method=exact: 21 \+ 21 units .*; allowed: auto, ais, tempering"
    ):
        estimate(rbm, EvalSettings(logz_method="exact"), 0)

    quick = {"logz_temperatures": 1, "logz_chains": 2}
    assert estimate(rbm, EvalSettings.of(quick), 0).method.startswith("AIS, 1 steps")
    assert log_z.MAX_SIDE == boltzmann_exact.MAX_SIDE


# ----------------------------------------------------------------------------------------- protocol


@pytest.mark.parametrize(
    ("model", "measure", "ev", "parts"),
    [
        ({"name": "sbn", "dims": [5]}, "iw_nll", {}, ""),
        ({"name": "rbm_vae", "latents": 40}, "iw_nll", {}, "logz:exact|"),
        ({"name": "rbm_vae", "latents": 42}, "iw_nll", {}, "logz:ais-200x100|"),
        ({"name": "rbm_vae", "latents": 40}, "bound", {"logz_method": "ais"}, "logz:ais-200x100|"),
        (
            {"name": "rbm_vae", "latents": 200},
            "kl",
            {"logz_method": "tempering"},
            "logz:tempering-50x100|",
        ),
        ({"name": "rbm_vae", "latents": 200}, "active_units", {}, ""),
        ({"name": "rbm_vae", "latents": 16}, "nll", {}, ""),
        ({"name": "rbm_vae", "latents": 200}, "valid_bound", {}, ""),
        (
            {"name": "rbm_posterior", "latents": 200},
            "iw_nll",
            {},
            "logz:ais-200x100|posterior:ais-50x400|",
        ),
        (
            {"name": "rbm_posterior", "latents": 200},
            "active_units",
            {"iw_samples": None},
            "posterior:ais-50x20|",
        ),
        ({"name": "rbm_posterior", "latents": 200}, "log_z", {}, "logz:ais-200x100|"),
    ],
)
def test_the_protocol_says_how_log_z_is_found(model, measure, ev, parts):
    text = signature.signature(cell(model, **ev), measure, 7)
    assert text.partition("samples:7|")[2] == f"{parts}select:last|recipe:1"


def test_settings_that_an_option_does_not_have():
    bare = {k: EVAL[k] for k in ("bound_samples", "iw_samples", "split", "points")}
    parts = log_z.log_z_parts(
        {**cell({"name": "rbm_posterior", "latents": 200}), "eval": bare}, "iw_nll"
    )

    assert parts == ["logz:ais-10000x1024", "posterior:ais-500x400"]


OF_DATA = {"logz_base", "logz_spacing"}
"""Settings of models over the data alone."""


@pytest.mark.parametrize("name", ["dvae", "dvae_short", "rbm"])
def test_options_have_every_setting(name):
    of_other_models = {"posterior_temperatures"} if name == "rbm" else OF_DATA
    expected = {
        f.name: f.default
        for f in fields(EvalSettings)
        if f.name.startswith("logz") or f.name == "posterior_temperatures"
    }
    expected = {k: v for k, v in expected.items() if k not in of_other_models}

    assert set(expected) <= set(catalogue.load_yaml("eval", name))

    if name == "dvae":
        assert catalogue.load_yaml("eval", name).items() >= expected.items()


def test_every_file_in_the_registry_is_there():
    files = {file for metric in registry.METRICS.values() for file in metric.files}
    for file in files:
        module = importlib.import_module(f"vaebench.metrics.{file}")
        assert isinstance(module.METRIC, Metric)


def test_every_measure_is_in_the_registry_with_its_samples(x):
    for settings in (
        DIRECTED,
        POSTERIOR,
        {"name": "rbm_target", "side": 2},
        {"name": "sbn", "dims": [3]},
    ):
        _, got = measured(settings, x[:40], iw_samples=30)
        for name, m in got.items():
            assert name in registry.METRICS
            assert m.samples == signature.samples_of(cell(settings, iw_samples=30), name), name
            assert m.points == 40


def test_a_machine_that_is_fitted_to_a_known_p(x):
    model, got = measured({"name": "rbm_target", "side": 2}, x)
    kl = float(model.kl())

    assert got["exact_kl"].value == pytest.approx(kl, rel=1e-9)
    assert 0 <= got["kl_gap"].value < kl
    assert abs(got["bound"].value - kl) < 4.5 * got["bound"].error


# -------------------------------------------------------------------------------------- old results


def test_old_measures_load_and_new_ones_come_back(x):
    old = {
        "name": "iw_nll",
        "value": 90.0,
        "unit": "nats",
        "error": 0.1,
        "error_kind": "monte carlo",
    }

    assert Measure.from_dict(old).error == 0.1
    assert Measure.from_dict({**old, "error": None, "error_kind": "none"}).error is None

    _, got = measured(DIRECTED, x[:20], iw_samples=20, logz_method="ais")
    for m in got.values():
        again = Measure.from_dict(json.loads(json.dumps(m.to_dict())))
        assert (again.value, again.error) == (m.value, m.error)
        assert again.extra.get("log_z_error") == m.extra.get("log_z_error")


def test_a_report_shows_both_errors(x):
    from vaebench.report.cells import number
    from vaebench.report.footnotes import footnotes
    from vaebench.report.select import estimate
    from vaebench.report.select import measured as chosen
    from vaebench.results.long_frame import typed

    base = {
        "table": "nvil_mnist",
        "row": "r",
        "column": "c",
        "preset": "paper",
        "status": "done",
        "metric": "iw_nll",
    }
    row = {
        **base,
        "seed": 0,
        "value": 84.97,
        "unit": "nats",
        "error": 0.03,
        "error_kind": "monte carlo",
        "key": "k",
    }

    with_log_z = estimate(
        chosen(typed([{**row, "extra": json.dumps({"log_z_error": 0.04})}]), "iw_nll")
    )

    assert (with_log_z.own_error, with_log_z.log_z_error) == (0.03, 0.04)
    assert with_log_z.error == pytest.approx(0.05)  # the root of the sum of squares
    assert number(with_log_z) == "84.97 [0.05]"

    plain = estimate(chosen(typed([row]), "iw_nll"))
    assert (plain.error, plain.log_z_error, number(plain)) == (0.03, None, "84.97 [0.03]")

    table = catalogue.load_table("nvil_mnist")
    from vaebench.report.summary import ReportRow

    notes = " ".join(footnotes(table, [ReportRow("r", "c", ours=with_log_z)]))

    assert "log Z: estimated, with a standard error of at most 0.040 nats" in notes
    assert "All cases of a run share it (of documents those of one length)" in notes
    assert "log Z" not in " ".join(footnotes(table, [ReportRow("r", "c", ours=plain)]))
