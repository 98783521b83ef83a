"""Trainings of tiny cells whose validations follow a script and whose
parameters can be made NaN."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.training import bookkeeping, checkpoint
from vaebench.training import loop as train
from vaebench.training.engines import Pack
from vaebench.training.run_state import progress_of

CPU = torch.device("cpu")


@pytest.fixture
def go(make_config, splits, tmp_path):
    """Train ``seeds`` in a folder as a session would: each from its checkpoint, those
    at one update together."""

    def go(changes=None, seeds=(0,), folder="run", data=splits, engine="plain", **hooks):
        config = make_config(changes)
        stand = [progress_of(tmp_path / folder / f"seed-{s}", s) for s in seeds]
        able = [s for s in stand if s.status == "running" and s.update < config["train"]["updates"]]
        for start in sorted({s.update for s in able}):
            train.train(config, data, [s for s in able if s.update == start], CPU, engine, **hooks)
        return stand

    return go


@pytest.fixture
def params_of(tmp_path):
    """The tensors of a checkpoint, by folder, seed and file."""

    def read(folder, seed=0, file="checkpoint"):
        return checkpoint.read(tmp_path / folder / f"seed-{seed}" / f"{file}.safetensors").params

    return read


@pytest.fixture
def scripted(monkeypatch):
    """Validation bounds that follow a script per seed; its last value is repeated."""

    def put(script):
        left = {seed: list(values) for seed, values in script.items()}

        def found(model, x, samples, seed, update, settings):
            values = left[seed]
            return {"valid_bound": values.pop(0) if len(values) > 1 else values[0]}

        monkeypatch.setattr(bookkeeping, "validation", found)

    return put


@pytest.fixture
def poison(monkeypatch):
    """Make one seed's parameters NaN when its pack has made so many updates."""

    def put(seed_row, after):
        real = Pack.advance
        done = 0

        def advance(self, index, noise, binarize, first, only):
            nonlocal done
            if done >= after and seed_row < self.size:
                for v in self.params.values():
                    v[seed_row] = math.nan

            done += len(index)
            return real(self, index, noise, binarize, first, only)

        monkeypatch.setattr(Pack, "advance", advance)

    return put
