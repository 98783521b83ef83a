"""Fixtures of tiny runs: cells of a belief net of four units on random bits, and the state by which
two runs are compared."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from vaebench.config.cells import Cell
from vaebench.data.kinds import Kind
from vaebench.data.splits import make_splits
from vaebench.results.store import Store
from vaebench.rng import noise

CONFIG = {
    "data": {"name": "bits", "held_out": None, "held_out_seed": 0, "mirror": None},
    "model": {
        "name": "sbn",
        "dims": [4],
        "posterior": "factorial",
        "init": "normal",
        "init_scale": 0.1,
    },
    "objective": {"name": "nvil", "baseline_units": 3},
    "optim": {"name": "sgd", "rate": 0.01, "posterior_rate": None, "baseline_rate": None},
    "eval": {
        "name": "bound10",
        "split": "test",
        "points": None,
        "bound_samples": 3,
        "iw_samples": 5,
    },
    "recipe": 1,
    "train": {
        "updates": 50,
        "batch": 5,
        "order": "replacement",
        "valid_every": 15,
        "valid_samples": 2,
        "patience": None,
        "select": "valid_bound",
    },
    "run": {
        "device": "cpu",
        "threads": 1,
        "jobs": 1,
        "engine": "plain",
        "pack": 8,
        "results": None,
    },
}


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of 20 updates, so that a run of 50 passes through several."""
    monkeypatch.setattr(noise, "BLOCK", 20)


@pytest.fixture
def make_config(short_blocks):
    """A cell's configuration with some values changed: ``make_config({"train.updates": 30})``."""

    def make(changes=None):
        config = copy.deepcopy(CONFIG)
        for key, value in (changes or {}).items():
            group, _, name = key.rpartition(".")
            (config[group] if group else config)[name] = value

        return config

    return make


@pytest.fixture
def make_cell(make_config, tmp_path):
    """A cell whose runs are kept in ``tmp_path / "runs"``."""

    def make(changes=None, row="SBN 4", column="NVIL"):
        config = make_config({"run.results": str(tmp_path / "runs"), **(changes or {})})
        return Cell("bits_table", row, column, "quick", config)

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def bits(seed=0, kind=Kind.BITS):
    rng = np.random.default_rng(seed)
    top = 256 if kind is Kind.GREY else 2
    train = rng.integers(0, top, (30, 12), dtype=np.uint8)
    valid, test = (rng.integers(0, 2, (n, 12), dtype=np.uint8) for n in (8, 9))
    return make_splits("bits", train, valid, test, (3, 4), kind)


@pytest.fixture
def splits():
    return bits()


@pytest.fixture
def grey():
    """Grey levels, binarized anew at every visit."""
    return bits(kind=Kind.GREY)


@pytest.fixture
def load_bits(monkeypatch, splits):
    """Have every data set loaded as ``splits``; the function that this returns puts another one
    in its place."""
    from vaebench import data

    def put(value):
        monkeypatch.setattr(data, "load", lambda config, **kw: value)

    put(splits)
    return put


def run_state(folder):
    """All of a run but its times: tensors and meta of both checkpoints, the curve, the result."""
    from safetensors import safe_open

    out = {}
    for name in ("checkpoint", "best"):
        path = folder / f"{name}.safetensors"
        if path.exists():
            with safe_open(path, framework="np") as f:
                out |= {f"{name}/{k}": f.get_tensor(k).tobytes() for k in f.keys()}  # noqa: SIM118
                # The metadata are a word and then JSON.
                meta = json.loads(f.metadata()["vaebench"].partition(" ")[2])

            meta["curve"] = [
                {k: v for k, v in point.items() if k != "seconds"} for point in meta["curve"]
            ]
            out[f"{name} meta"] = {
                k: v for k, v in meta.items() if k not in ("seconds", "update_seconds")
            }

    if (folder / "curve.csv").exists():
        with (folder / "curve.csv").open(newline="") as f:
            out["curve"] = [
                {k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(f)
            ]

    if (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text())
        names = ("status", "reason", "updates", "best_update", "stopped_early", "measures", "data")
        out["result"] = {k: result.get(k) for k in names}
        # Measures in these units are times.
        out["result"]["measures"] = [
            m for m in result.get("measures") or [] if m["unit"] not in ("ms", "h")
        ]

    return out


@pytest.fixture
def state_of():
    return run_state


@pytest.fixture
def states_of():
    """The state of every run below a results folder, (key, seed folder) -> state.

    Fails if a temporary file is left there.
    """

    def states(root):
        assert [p for p in Path(root).rglob("*.tmp")] == []

        folders = sorted(p.parent for p in Path(root).glob("*/seed-*/config.json"))
        return {(f.parent.name, f.name): run_state(f) for f in folders}

    return states
