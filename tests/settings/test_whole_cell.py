"""Ranges of settings: every rule accepts its edges and refuses what lies just outside."""

from __future__ import annotations

import copy
import os
import re

import pytest

from vaebench.errors import UserError
from vaebench.settings.records import KINDS
from vaebench.settings.whole_cell import check_cell


def put(cell, key, value):
    """A copy of the cell with another value; a key without a dot is one of the cell itself."""
    changed = copy.deepcopy(cell)
    group, _, name = key.rpartition(".")
    (changed[group] if group else changed)[name] = value
    return changed


GOOD = {
    "recipe": [1, 7],
    "data.held_out": [None, 1],
    "data.held_out_seed": [0, 3],
    "data.entries": [None, 6, 5000],
    "train.updates": [1, 2_000_000],
    "train.batch": [1],
    "train.unit": ["updates", "epochs"],
    "train.order": ["replacement", "shuffle", "lengths", "buckets"],
    "train.valid_every": [1],
    "train.valid_samples": [1],
    "train.patience": [None, 1],
    "train.snapshots": [[], [0, 7]],
    "train.cases": [None, 1, 50],
    "train.precision": ["float32", "bfloat16"],
    "eval.means": ["valid", "train"],
    "train.select": ["valid_bound", "last"],
    "eval.split": ["test", "valid", "train"],
    "eval.points": [None, 1],
    "eval.bound_samples": [1],
    "eval.iw_samples": [None, 1],
    "eval.hmc_samples": [None, 2],
    "eval.ais_chains": [None, 2],
    "eval.ais_temperatures": [1],
    "eval.imputation": [None, "random", "square"],
    "eval.missing": [0.6],
    "eval.imputation_steps": [1],
    "eval.imputation_chains": [2],
    "eval.mi_batch": [2, 50],
    "eval.orders": [1, 128],
    "eval.members": [1, 128],
    "eval.particles": [None, 1, 50],
    "eval.repeats": [1, 10],
    "eval.precision": ["float32", "bfloat16"],
    "eval.logz_method": ["auto", "exact", "ais", "tempering"],
    "eval.logz_temperatures": [1],
    "eval.logz_chains": [2],
    "eval.logz_sweeps": [1],
    "eval.logz_base": ["uniform", "base_rate"],
    "eval.logz_spacing": ["even", "late"],
    "eval.posterior_temperatures": [1],
    "run.device": ["auto", "cpu", "cuda", "cuda:0", "cuda:12"],
    "run.threads": [1],
    "run.jobs": ["auto", 1],
    "run.engine": ["auto", "plain", "compiled", "kernel"],
    "run.pack": [1],
    "run.results": ["results/runs"],
    "run.track": [[], ["jsonl"], ["tensorboard", "wandb", "mlflow"]],
    "run.launcher": ["local", "slurm", "ray"],
    "run.parallel": [None, 1],
    "run.cpus": [None, 1],
    "run.gpus": [None, 0],
    "run.memory": [None, 1],
    "run.partition": [None, "gpu", "gpu,long-1"],
    "run.time_limit": [1],
    "run.grace": [1],
    "run.sbatch": [[], ["account=ml", "exclusive", "mail-type=END,FAIL"]],
    "run.address": [None, "auto", "10.0.0.1:6379", "ray://head:10001"],
    "data.mirror": [None, "", "~/files"],
    "data.train": [None, "train.txt"],
    "data.valid": [None, "valid.txt"],
    "data.test": [None, "test.txt"],
    "data.labels": [True, False],
    "data.grey": ["dynamic", "threshold"],
    "data.vocabulary": [None, "words.txt"],
    "data.counts": ["raw", "log1p"],
    "optim.rate": [1e-9, 3, 0.1],
    "optim.posterior_rate": [None, 1e-9],
    "optim.baseline_rate": [None, 1e-9],
}
BAD = {
    "recipe": [0, "1"],
    "data.held_out": [0, "all", 1.5],
    "data.held_out_seed": [-1, None],
    "data.entries": [0, 1.5],
    "train.updates": [0, -1, None, True, 1.5, 2.0],
    "train.batch": [0],
    "train.unit": ["passes", None, 1],
    "train.order": ["random", None],
    "train.valid_every": [0],
    "train.valid_samples": [0],
    "train.patience": [0, "never"],
    "train.snapshots": [[-1], [1.5], [None], 3, None],
    "train.cases": [0, True],
    "train.precision": ["half", None, 32],
    "eval.means": ["all", None],
    "train.select": ["best"],
    "eval.split": ["all"],
    "eval.points": [0],
    "eval.bound_samples": [0, None],
    "eval.iw_samples": [0],
    "eval.hmc_samples": [1],
    "eval.ais_chains": [1],
    "eval.ais_temperatures": [0, None],
    "eval.imputation": ["circle", 3],
    "eval.missing": [0, 1, 1.5, None],
    "eval.imputation_steps": [0, None],
    "eval.imputation_chains": [1, None],
    "eval.mi_batch": [1, None],
    "eval.orders": [0, None, 2.5],
    "eval.members": [0, None, 2.5],
    "eval.particles": [0, "many"],
    "eval.repeats": [0, None],
    "eval.precision": ["half", None, 32],
    "eval.logz_method": ["AIS", None],
    "eval.logz_temperatures": [0],
    "eval.logz_chains": [1],
    "eval.logz_sweeps": [0],
    "eval.logz_base": ["biases"],
    "eval.logz_spacing": ["dense"],
    "eval.posterior_temperatures": [0, None],
    "run.device": ["gpu", "cuda:", "cuda:x", "CPU", 0, "cpu0"],
    "run.threads": [0],
    "run.jobs": [0, "all", None],
    "run.track": ["neptune", ["jsonl", "jsonl"], None, [["jsonl"]], 3],
    "run.engine": ["on", "packed", None, True],
    "run.pack": [0],
    "run.results": ["", " ", 3, "a\0b"],
    "run.launcher": ["here", None, "Slurm"],
    "run.parallel": [0, "auto"],
    "run.cpus": [0, 1.5],
    "run.gpus": [-1, "a100"],
    "run.memory": [0, "8GB"],
    "run.partition": ["", "a b", "a;b", 3],
    "run.time_limit": [0, None, "1:00"],
    "run.grace": [0, None],
    "run.sbatch": [None, "account=ml", ["--account=ml"], ["Account=ml"], ["a=1\nb"], [3]],
    "run.address": ["", "a b", 3],
    "data.mirror": [True, ["a"], "a\0b"],
    "data.train": [7],
    "data.valid": [{}],
    "data.test": ["\0"],
    "data.labels": [1, None, "yes"],
    "data.grey": ["half", None, True],
    "data.vocabulary": [7, "\0"],
    "data.counts": ["log", None, 1],
    "optim.rate": [0, -1e-3, float("nan"), float("inf"), None, True, "fast"],
    "optim.posterior_rate": [0, float("inf")],
    "optim.baseline_rate": [-1],
}


TOO_LARGE = {
    "data.held_out": 1e20,
    "data.held_out_seed": 2**63,
    "train.updates": 1e20,
    "train.batch": 1e8,
    "train.valid_every": 1e20,
    "train.valid_samples": 1e9,
    "train.snapshots": [10**10],
    "eval.points": 1e20,
    "eval.bound_samples": 1e9,
    "eval.iw_samples": 1e9,
    "eval.hmc_samples": 1e9,
    "eval.ais_chains": 1e9,
    "eval.ais_temperatures": 1e9,
    "eval.imputation_steps": 1e9,
    "eval.imputation_chains": 1e9,
    "eval.mi_batch": 1e8,
    "eval.repeats": 1e9,
    "eval.logz_chains": 1e9,
    "eval.logz_sweeps": 1e9,
    "eval.logz_temperatures": 1e9,
    "eval.posterior_temperatures": 1e9,
    "run.threads": 9999,
    "run.jobs": 9999,
    "run.pack": 1e9,
    "run.parallel": 1e9,
    "run.cpus": 1e9,
    "run.gpus": 1e9,
    "run.memory": 1e9,
    "run.time_limit": 1e9,
    "run.grace": 1e9,
    "model.dims": [200, 10**8],
    "model.units": 10**8,
    "objective.baseline_units": 10**8,
    "objective.prior_chains": 10**9,
    "objective.kl_warmup": 10**12,
    "optim.patience": 10**12,
}


@pytest.mark.parametrize("key", TOO_LARGE)
def test_a_size_without_bound_is_refused_and_the_bound_said(cell, key):
    value = TOO_LARGE[key]
    with pytest.raises(UserError, match=rf"^{re.escape(key)}=.*: allowed: .*[0-9]$"):
        check_cell(put(cell, key, int(value) if isinstance(value, float) else value))


def test_every_count_has_an_upper_bound():
    for key, kind in KINDS.items():
        with pytest.raises(UserError, match=f"^{re.escape(key)}=1"):
            kind.check(key, 10**30)


def test_threads_may_be_those_of_a_larger_machine(cell):
    check_cell(put(cell, "run.threads", 64))
    check_cell(put(cell, "run.threads", 4 * (os.cpu_count() or 1)))


def test_every_rule_has_cases():
    assert set(KINDS) <= set(GOOD)
    assert set(GOOD) == set(BAD)


def test_defaults_are_valid(cell):
    check_cell(cell)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in GOOD.items() for v in values])
def test_edges_are_accepted(cell, key, value):
    check_cell(put(cell, key, value))


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in BAD.items() for v in values])
def test_outside_is_refused_by_name(cell, key, value):
    with pytest.raises(UserError) as caught:
        check_cell(put(cell, key, value))

    # The message begins with the setting and says what is allowed.
    line = str(caught.value)
    assert line.startswith(f"{key}=")
    assert "allowed: " in line


def test_keys_an_option_does_not_have_are_skipped(cell):
    del cell["data"]["held_out"]
    check_cell(cell)
