"""Signatures: what they say of a measure, held against what is done where log Z
enters the validation."""

from __future__ import annotations

import pytest
import torch

from vaebench import objectives
from vaebench.check import checks as check
from vaebench.data import examples
from vaebench.errors import UserError
from vaebench.estimators import annealed_posterior, exact
from vaebench.estimators.log_z import methods
from vaebench.metrics import validation
from vaebench.models.base import BoltzmannPosterior
from vaebench.protocol import log_z
from vaebench.protocol.families import FAMILIES, UNKNOWN, has_density
from vaebench.protocol.log_z import at_validation, check_validation, log_z_parts
from vaebench.protocol.registry import METRICS
from vaebench.protocol.signature import check_measure, evaluated, samples_of, signature
from vaebench.settings.records import EvalSettings

EVAL = {"split": "test", "points": 50, "bound_samples": 20, "iw_samples": 400}
CHAINS = {"valid_temperatures": 30, "valid_chains": 40}
DIRECTED = {"name": "rbm_vae", "latents": 6, "groups": 1, "layers": 0, "units": 3}
POSTERIOR = {"name": "rbm_posterior", "latents": 6, "layers": 0, "units": 3}
GENERATOR = {"name": "rbm_generator", "latents": 6, "layers": 0, "units": 3}
TARGET = {"name": "rbm_target", "side": 2}


def config(model, objective=None, **ev):
    return {
        "data": {"name": "tiny"},
        "model": model,
        "eval": {**EVAL, **ev},
        "train": {"select": "last", "valid_samples": 7},
        "recipe": 1,
        **({"objective": objective} if objective else {}),
    }


def of_validation(model, objective):
    c = config(model, objective)
    return signature(c, "valid_bound", c["train"]["valid_samples"])


@pytest.mark.parametrize(
    ("model", "objective"),
    [
        ({"name": "sbn", "dims": [5]}, {"name": "nvil"}),
        (TARGET, {"name": "rbm_kl"}),
        (DIRECTED, None),
    ],
)
def test_validation_of_models_that_lack_nothing(model, objective):
    """Nor does it name settings of an objective that mean nothing to the model."""
    plain = "valid_bound|data:tiny|split:valid|points:all|samples:7|select:last|recipe:1"
    assert of_validation(model, objective) == plain
    if objective and not FAMILIES.get(model["name"], UNKNOWN).unnormalised:
        assert of_validation(model, {**objective, **CHAINS, "valid_points": 3}) == plain


@pytest.mark.parametrize(
    ("latents", "objective", "parts"),
    [
        # Half of the latents are one side of the machine. Up to 20 units on a side are enumerated.
        (40, {**CHAINS}, "samples:7|logz:exact"),
        (42, {**CHAINS}, "samples:7|logz:ais-30x40"),
        # The posteriors of this model are not annealed, so valid_points has no effect.
        (42, {**CHAINS, "valid_points": 3}, "samples:7|logz:ais-30x40"),
    ],
)
def test_validation_by_importance_samples(latents, objective, parts):
    text = of_validation({**DIRECTED, "latents": latents}, {"name": "gumbolt", **objective})
    assert text == f"valid_bound|data:tiny|split:valid|points:all|{parts}|select:last|recipe:1"


@pytest.mark.parametrize(("points", "said"), [(3, "3"), (None, "all")])
def test_validation_of_boltzmann_posteriors(points, said):
    objective = {
        "name": "dvae_sharp_sharp",
        **CHAINS,
        "valid_points": points,
        "posterior_temperatures": 9,
    }
    text = of_validation({**POSTERIOR, "latents": 42}, objective)

    assert f"|split:valid|points:{said}|samples:7|logz:ais-30x40|posterior:ais-9x7|select" in text

    del objective["posterior_temperatures"]
    assert "posterior:ais-100x7" in of_validation(POSTERIOR, objective)


def test_validation_by_summation_takes_no_samples():
    c = config(GENERATOR, {"name": "bit_gibbs", "sweeps": 2})

    assert samples_of(c, "valid_bound") is None
    assert samples_of(c, "bound") == 20
    assert of_validation(GENERATOR, c["objective"]) == (
        "valid_bound|data:tiny|split:valid|points:all|logz:exact|posterior:exact|select:last|recipe:1"
    )
    # Of this model the samples are named, as in its results on record.
    assert samples_of(config(TARGET, {"name": "rbm_kl"}), "valid_bound") == 7


def test_a_time_has_nothing_of_validation():
    objective = {"name": "dvae_sharp_sharp", **CHAINS, "valid_points": 3}
    assert log_z_parts(config(POSTERIOR, objective), "ms_per_update") == []


RULES = [
    (DIRECTED, {"name": "gumbolt", **CHAINS}),
    (
        POSTERIOR,
        {"name": "dvae_sharp_sharp", **CHAINS, "valid_points": 3, "posterior_temperatures": 9},
    ),
    (
        POSTERIOR,
        {"name": "dvae_sharp_sharp", **CHAINS, "valid_points": None, "posterior_temperatures": 9},
    ),
    (GENERATOR, {"name": "bit_gibbs"}),
]


@pytest.mark.parametrize(("settings", "objective"), RULES, ids=lambda v: v["name"])
@pytest.mark.parametrize("side", [1, 20])
def test_the_signature_is_what_is_done(settings, objective, side, monkeypatch):
    """Held against the log Z that a validation takes by the objective's own settings, of Boltzmann
    machines that count as large (side 1) or small (side 20)."""
    monkeypatch.setattr(log_z, "MAX_SIDE", side)
    done = {}

    # Have a function note how it is called, and then run.
    def spy(module, name, tell):
        inner = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: done.update(tell(*a)) or inner(*a, **k))

    spy(
        methods,
        "ais",
        lambda rbm, times, chains, *_: {"logz": f"ais-{len(times) - 1}x{chains}"},
    )
    spy(
        annealed_posterior,
        "stream",
        lambda m, x, k, steps, *_: {"posterior": f"ais-{steps}x{k}", "points": len(x)},
    )
    spy(validation, "exact_value", lambda m, x: {"logz": "exact", "posterior": "exact"})

    model = check.tiny(settings, seed=1, scale=0.5)
    x = exact.states(check.VISIBLE)[:10]
    rule = objectives.build(objective, model)

    validation.validation_bound(model, x, 7, 0, rule.validation)
    parts = of_validation(settings, objective).parts

    assert parts["logz"] == done.get("logz", "exact")
    assert parts.get("posterior") == done.get("posterior")
    assert parts["points"] == (
        "all" if done.get("points", len(x)) == len(x) else str(done["points"])
    )

    # Both sides would also agree if nothing were annealed: a large prior has to be.
    if not isinstance(model, BoltzmannPosterior) and settings is not GENERATOR:
        assert side == 20 or parts["logz"] == "ais-30x40"


def test_the_default_of_the_posteriors_is_that_of_the_validation(monkeypatch):
    steps_taken = []
    inner = annealed_posterior.stream
    # Two steps instead of the default number are enough here.
    monkeypatch.setattr(
        annealed_posterior,
        "stream",
        lambda m, x, k, steps, *a: steps_taken.append(steps) or inner(m, x, k, 2, *a),
    )
    model = check.tiny(POSTERIOR, seed=1, scale=0.5)
    validation.validation_bound(
        model, exact.states(check.VISIBLE)[:3], 7, 0, {"temperatures": 5, "chains": 5}
    )

    assert steps_taken == [log_z.VALID_POSTERIOR_TEMPERATURES]


def test_all_validation_cases_may_be_annealed():
    """By objective.valid_points=null, but by no other value that is not a count."""
    model = check.tiny(POSTERIOR, seed=1)
    rule = objectives.build({"name": "dvae_sharp_sharp", "valid_points": None}, model)

    assert rule.validation["points"] is None
    assert torch.equal(
        examples.every_nth(torch.arange(5), rule.validation["points"]), torch.arange(5)
    )

    for points in (0, -1, 2.5, True, "all"):
        with pytest.raises(UserError, match=r"objective\.valid_points"):
            objectives.build({"name": "dvae_sharp_sharp", "valid_points": points}, model)


# ------------------------------------------------------------------- a measure that is switched off


@pytest.mark.parametrize("measure", ["iw_nll", "iw_nll_weighted"])
def test_a_measure_without_samples_is_refused(measure):
    check_measure(measure, config(DIRECTED, iw_samples=1))
    with pytest.raises(UserError) as caught:
        check_measure(measure, config(DIRECTED, iw_samples=None))

    line = str(caught.value)
    assert line.startswith(f"eval.iw_samples=null: {measure}, ")
    assert line.endswith("allowed here: a whole number, at least 1")
    assert "\n" not in line


def test_active_units_need_two_samples():
    check_measure("active_units", config(DIRECTED, bound_samples=2))
    with pytest.raises(UserError, match=r"^eval\.bound_samples=1: active_units, .* at least 2$"):
        check_measure("active_units", config(DIRECTED, bound_samples=1))


def test_models_that_know_their_means_or_their_likelihood_need_fewer():
    check_measure("active_units", config({"name": "text_vae"}, bound_samples=1))
    check_measure("perplexity", config({"name": "text_lm"}, iw_samples=None))
    with pytest.raises(UserError, match=r"^eval\.iw_samples=null: perplexity"):
        check_measure("perplexity", config({"name": "text_vae"}, iw_samples=None))


def test_the_other_measures_are_always_taken():
    c = config(DIRECTED, {"name": "gumbolt", **CHAINS}, iw_samples=None, bound_samples=1)
    may_be_refused = {
        "perplexity",
        "active_units",
        *(
            m
            for m in METRICS
            if m.startswith(("iw_", "hmc_", "ais_", "imputation", "left_to_right_"))
        ),
    }
    for measure in set(METRICS) - may_be_refused:
        check_measure(measure, c)
    check_measure("a measure of a later version", c)


def test_some_training_cases_are_not_all_of_them():
    c = config(DIRECTED, split="train")
    assert "|split:train|" in signature(c, "bound", 20)

    c["train"]["cases"] = 50
    assert "|split:train-50|" in signature(c, "bound", 20)

    c["eval"]["split"] = "test"
    assert "|split:test|" in signature(c, "bound", 20)


@pytest.mark.parametrize(
    ("model", "ev", "measure", "names"),
    [
        ("sbn", {}, "bound", "bound kl active_units iw_nll"),
        ("sbn", {"points": 1}, "bound", "bound kl iw_nll"),  # one case has no variance over cases
        ("sbn", {"bound_samples": 1, "iw_samples": None}, "bound", "bound kl"),
        ("sbn", {}, "ms_per_update", "bound kl active_units iw_nll"),  # the training takes it
        ("rbm_generator", {"iw_samples": None}, "nll", "bound kl active_units nll"),
        ("text_vae", {"bound_samples": 1}, "iw_nll", "bound kl active_units iw_nll mi_batch"),
        ("text_lm", {}, "nll", "nll"),
    ],
)
def test_what_a_run_must_have_to_count_as_evaluated(model, ev, measure, names):
    assert evaluated(config({"name": model}, **ev), measure) == names.split()


@pytest.mark.parametrize(
    ("likelihood", "part", "density"),
    [("bernoulli", "", False), ("gaussian", "|likelihood:gaussian", True),
     ("cross_entropy", "|likelihood:cross_entropy", False)],
)  # fmt: skip
def test_a_likelihood_of_other_than_bits_is_part_of_the_protocol(likelihood, part, density):
    c = config({"name": "gaussian_vae", "likelihood": likelihood})
    text = signature(c, "bound", 20)

    assert text == f"bound|data:tiny|split:test|points:50|samples:20{part}|select:last|recipe:1"
    assert has_density(c) == density


def test_a_refined_posterior_has_its_steps_and_its_batch():
    """The result depends on how many examples are refined together, so it is part of the text."""
    objective = {"svi_steps": 10, "svi_rate": 1.0, "svi_momentum": 0.5, "svi_clip": 5.0}
    c = config({"name": "text_vae"}, objective)
    c["train"]["batch"] = 32

    assert "|samples:20|svi:10|svi_batch:32|select:last|" in signature(c, "bound", 20)

    # Settings of the refinement other than the usual ones are named.
    c["train"]["batch"] = 16
    c["objective"]["svi_rate"] = 0.1
    assert "|samples:20|svi:10,svi_rate=0.1|svi_batch:16|select:" in signature(c, "bound", 20)

    for steps in (0, None):
        c["objective"]["svi_steps"] = steps
        assert "svi" not in signature(c, "bound", 20)


def test_the_nll_from_posterior_samples_is_taken_where_it_is_asked_for():
    c = config({"name": "gaussian_vae"}, hmc_samples=50)

    # Not if the setting is null, and not of models of documents.
    assert "hmc_nll" in evaluated(c, "iw_nll")
    assert "hmc_nll" not in evaluated(config({"name": "gaussian_vae"}), "iw_nll")
    assert "hmc_nll" not in evaluated(config({"name": "text_vae"}, hmc_samples=50), "iw_nll")
    assert "|samples:50|" in signature(c, "hmc_nll", samples_of(c, "hmc_nll"))
    with pytest.raises(UserError, match=r"eval\.hmc_samples=1: hmc_nll, which this table compares"):
        check_measure("hmc_nll", config({"name": "sbn", "dims": [5]}, hmc_samples=1))


def test_an_annealed_nll_has_its_chains_and_temperatures():
    c = config({"name": "dlgm"}, ais_chains=16)

    # Of models with Gaussian latents, but not of documents, if the setting is not null.
    assert "ais_nll" in evaluated(c, "iw_nll")
    assert "ais_nll" not in evaluated(config({"name": "dlgm"}), "iw_nll")
    assert "ais_nll" not in evaluated(config({"name": "text_vae"}, ais_chains=16), "iw_nll")
    assert "ais_nll" not in evaluated(config({"name": "sbn", "dims": [5]}, ais_chains=16), "iw_nll")
    assert "|samples:16|temperatures:1000|" in signature(c, "ais_nll", samples_of(c, "ais_nll"))
    assert "temperatures" not in signature(c, "iw_nll", samples_of(c, "iw_nll"))

    with pytest.raises(
        UserError, match=r"eval\.ais_chains=null: ais_nll, which this table compares"
    ):
        check_measure("ais_nll", config({"name": "dlgm"}))


def test_annealing_takes_float32_whatever_the_precision():
    images = config({"name": "image_vae"}, precision="bfloat16")
    assert signature(images, "iw_nll", 4).parts["precision"] == "bfloat16"
    assert "precision" not in signature(images, "ais_nll", 4).parts


def test_a_validation_anneals_from_base_rates_as_published():
    """Salakhutdinov & Murray (2008): from the base rates, with temperatures that lie late."""
    late = EvalSettings(
        logz_temperatures=7, logz_chains=5, logz_base="base_rate", logz_spacing="late"
    )
    assert at_validation(7, 5, base_rates=True) == late
    assert at_validation(7, 5, False) == EvalSettings(logz_temperatures=7, logz_chains=5)


@pytest.mark.parametrize(
    ("units", "chains", "refused"), [(21, 1, True), (21, 2, False), (20, 1, False)]
)
def test_one_chain_is_refused_where_a_validation_anneals(units, chains, refused):
    """Up to 20 units are enumerated, and the chains are not used."""
    c = config({"name": "rbm_vae", "latents": 2 * units})
    c["objective"] = {"name": "dvae_sharp", "valid_temperatures": 9, "valid_chains": chains}
    if not refused:
        check_validation(c)
        return

    with pytest.raises(UserError, match=r"objective\.valid_chains=1: .* at least 2"):
        check_validation(c)
