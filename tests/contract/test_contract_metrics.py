"""What every measure must keep, of every model that has it: sign, error, passes of any size, the
way through a CSV."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from vaebench.config.cells import Cell
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.evaluation.evaluate import evaluate
from vaebench.models.base import LatentModel
from vaebench.protocol import families, signature
from vaebench.protocol.log_z import check_log_z
from vaebench.protocol.registry import METRICS
from vaebench.results import long_frame, store

CONFIG = {
    "data": {"name": "tiny"},
    "train": {"select": "last", "cases": None},
    "recipe": 1,
    "eval": {
        "bound_samples": 10,
        "iw_samples": 20,
        "split": "test",
        "points": None,
        "logz_method": "auto",
        "posterior_temperatures": 30,
    },
}

POSITIVE = ("bound", "iw_nll", "iw_nll_weighted", "nll", "active_units")
"""Of binary images and documents: never below 0."""


def evaluated(case, x, chunk=None, seed=0, **ev):
    model = case.build().requires_grad_(False)
    config = {**CONFIG, "model": case.model, "eval": {**CONFIG["eval"], **ev}}
    return {m.name: m for m in evaluate(model, x, config, "0" * 16, seed, chunk=chunk)}


def discrete(case):
    """Whether the examples are binary or documents, so that no likelihood is above 1. (The toy's
    target has no data.)"""
    return (
        case.model["name"] not in ("linear_gaussian", "rbm_target")
        and case.model.get("likelihood") != "gaussian"
    )


def test_measures_are_known_by_name_and_finite(model_case, x):
    measures = evaluated(model_case, x)
    assert measures
    assert set(measures) <= set(METRICS)

    for name, m in measures.items():
        assert math.isfinite(m.value), name
        assert m.points == len(x)
        assert m.signature.startswith(f"{name}|data:tiny@00000000|split:test|points:all")
        assert (m.error is None) == (m.error_kind == "none")
        assert m.error is None or m.error >= 0


ASKED = {
    "nothing more": {"bound_samples": 1, "iw_samples": None},
    "samples": {},
    "all": {
        "hmc_samples": 10,
        "ais_chains": 2,
        "ais_temperatures": 5,
        "imputation": "random",
        "imputation_steps": 2,
        "imputation_chains": 2,
        "particles": 2,
    },
}


@pytest.mark.parametrize("ev", ASKED.values(), ids=ASKED)
def test_a_run_is_evaluated_once_all_that_was_asked_for_is_measured(any_case, x, ev):
    """An evaluation measures everything that a run needs to count as evaluated. Otherwise every
    command would evaluate it again."""
    data = {"name": "toy_counts"} if any_case.kind is Kind.COUNTS else CONFIG["data"]
    config = {
        **CONFIG,
        "data": data,
        "model": any_case.model,
        "eval": {**CONFIG["eval"], **ev},
    }

    if any_case.model["name"] == "rbm_posterior" and ev.get("bound_samples") == 1:
        with pytest.raises(UserError, match=r"bound_samples=1: .* allowed here: .* at least 2"):
            check_log_z(config)
        return

    required = signature.evaluated(config, "ms_per_update")

    assert set(required) <= set(evaluated(any_case, x, **ev))
    assert required


def test_the_facts_of_a_configuration_are_those_of_the_built_model(any_case):
    data = {"name": "toy_counts"} if any_case.kind is Kind.COUNTS else CONFIG["data"]
    config = {"data": data, "model": any_case.model}
    model = any_case.build()

    assert families.draws_bits(config) == model.draws_bits
    assert families.deterministic(config) == getattr(model, "deterministic", False)


def test_likelihoods_and_bounds_of_discrete_data_are_positive(model_case, x):
    if not discrete(model_case):
        pytest.skip("densities may exceed 1")
    measures = evaluated(model_case, x)
    for name in POSITIVE:
        assert name not in measures or measures[name].value >= 0, name
    for name in (n for n in measures if n.endswith("perplexity")):
        assert measures[name].value >= 1, name

    # Burda et al. 2016: more samples, a tighter bound; five errors.
    if "iw_nll" in measures and "bound" in measures:
        slack = 5 * math.hypot(measures["bound"].error, measures["iw_nll"].error)
        assert measures["iw_nll"].value <= measures["bound"].value + slack


def test_measures_do_not_depend_on_the_size_of_a_pass(model_case, x):
    """20 samples in one pass, or in two of ten."""
    small_passes, large_passes = (evaluated(model_case, x, chunk=k) for k in (10, 1000))
    assert list(small_passes) == list(large_passes)

    for name, m in small_passes.items():
        assert m.value == pytest.approx(large_passes[name].value, rel=1e-5, abs=1e-5), name
        if m.error is not None:
            assert m.error == pytest.approx(large_passes[name].error, rel=1e-4, abs=1e-6), name


def test_the_error_of_the_bound_falls_with_the_root_of_the_samples(model_case, x):
    """Sixteen times the samples have a sixteenth of the variance: a quarter of the error, within a
    third.

    Over six examples the variance from 20 samples each is itself uncertain by some 15 percent. If
    log q rests on annealing for each example, that part of the error stays.
    """
    if (
        not isinstance(model_case.build(), LatentModel)
        or model_case.model["name"] == "rbm_posterior"
    ):
        pytest.skip("no bound from samples alone")

    repeated_x = x.repeat(10, 1)
    of_20_samples, of_320_samples = (
        evaluated(model_case, repeated_x, bound_samples=k, iw_samples=None)["bound"]
        for k in (20, 320)
    )
    if of_20_samples.error < 1e-9:
        pytest.skip("nothing is random")

    assert 2.7 < of_20_samples.error / of_320_samples.error < 5.5


def test_the_bound_of_other_seeds_scatters_by_its_error(model_case, x):
    """z of eight seeds about their mean: their mean square is above 3.3 once in 700 times, below
    0.15 once in 150."""
    if (
        not isinstance(model_case.build(), LatentModel)
        or model_case.model["name"] == "rbm_posterior"
    ):
        pytest.skip("no bound from samples alone")

    repeated_x = x.repeat(10, 1)
    bounds = [
        evaluated(model_case, repeated_x, seed=s, bound_samples=20, iw_samples=None)["bound"]
        for s in range(8)
    ]
    values = torch.tensor([m.value for m in bounds], dtype=torch.float64)
    if bounds[0].error < 1e-9:
        pytest.skip("nothing is random")

    # The variance of the values over the mean of the squared errors.
    assert (
        0.15
        < float(values.var()) / float(torch.tensor([m.error for m in bounds]).pow(2).mean())
        < 3.3
    )


def test_measures_come_back_from_a_csv(model_case, x, tmp_path):
    """Through result.json, the long frame and a file: every number to its last bit."""
    config = {
        **CONFIG,
        "model": model_case.model,
        "objective": {"name": "some"},
        "optim": {"name": "sgd"},
    }
    measures = evaluated(model_case, x)

    cell = Cell("tiny", "row", "column", "paper", config)
    runs = store.Store(tmp_path)
    runs.write_result(
        cell.key,
        3,
        {"schema": 1, "status": "done", "measures": [m.to_dict() for m in measures.values()]},
    )
    written = runs.frame([cell], [3])
    long_frame.write_csv(written, tmp_path / "measures.csv")
    read_back = long_frame.read_csv(tmp_path / "measures.csv")

    pd.testing.assert_frame_equal(read_back, written)

    assert list(read_back["metric"]) == list(measures)

    for m, (_, line) in zip(measures.values(), read_back.iterrows(), strict=True):
        assert (line["value"], line["unit"], line["signature"]) == (m.value, m.unit, m.signature)
        assert (None if pd.isna(line["error"]) else line["error"]) == m.error
