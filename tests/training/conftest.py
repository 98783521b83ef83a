"""Trainings of tiny cells.

Their validations can follow a script, and their parameters can be made NaN.
"""

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
    """Function that trains seeds in a folder as a session does; it returns where they stand.

    Each goes on from its checkpoint. Those at the same update train together.
    """

    def go(changes=None, seeds=(0,), folder="run", data=splits, engine="plain", **hooks):
        config = make_config(changes)
        states = [progress_of(tmp_path / folder / f"seed-{s}", s) for s in seeds]

        unfinished = [
            s for s in states if s.status == "running" and s.update < config["train"]["updates"]
        ]

        for start in sorted({s.update for s in unfinished}):
            train.train(
                config, data, [s for s in unfinished if s.update == start], CPU, engine, **hooks
            )

        return states

    return go


@pytest.fixture
def params_of(tmp_path):
    """Function that reads the parameters of a checkpoint, by folder, seed and file."""

    def read(folder, seed=0, file="checkpoint"):
        return checkpoint.read(tmp_path / folder / f"seed-{seed}" / f"{file}.safetensors").params

    return read


@pytest.fixture
def scripted(monkeypatch):
    """Function that makes validation bounds follow a script for each seed.

    The last value of a script is repeated.
    """

    def put(script):
        left = {seed: list(values) for seed, values in script.items()}

        def validation(model, x, samples, seed, update, settings):
            values = left[seed]
            return {"valid_bound": values.pop(0) if len(values) > 1 else values[0]}

        monkeypatch.setattr(bookkeeping, "validation", validation)

    return put


@pytest.fixture
def poison(monkeypatch):
    """Function that makes one seed's parameters NaN once its pack has made ``after`` updates."""

    def put(seed_row, after):
        real_advance = Pack.advance
        done = 0

        def advance(self, index, noise, binarize, first, only):
            nonlocal done
            if done >= after and seed_row < self.size:
                for v in self.params.values():
                    v[seed_row] = math.nan

            done += len(index)
            return real_advance(self, index, noise, binarize, first, only)

        monkeypatch.setattr(Pack, "advance", advance)

    return put
