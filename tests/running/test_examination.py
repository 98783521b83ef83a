"""A stopped evaluation goes on only if everything that its numbers depend on is the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vaebench import kernels
from vaebench.check import checks as check
from vaebench.running.examination import Examination
from vaebench.training.checkpoint import Checkpoint
from vaebench.work.steps import Kept

LOOPS = [Kept("/0:numbers", 3, 9, {"a": torch.arange(3)})]


def examination(folder, cell, data="a" * 16, seed=0, bias=0.0):
    model = check.tiny({"name": "sbn", "dims": [3]})
    parameters = Checkpoint({"p.0.bias": torch.full((4,), bias)}, meta={"update": 7})
    state = SimpleNamespace(folder=folder, seed=seed)
    examined = SimpleNamespace(splits=SimpleNamespace(hash=data), own=True, config=cell.config)

    return Examination(cell, examined, examined.splits, state, model, parameters)


def test_what_a_stopped_evaluation_has_left_is_gone_on_with(tmp_path, make_cell):
    examination(tmp_path, make_cell())._begun.write(LOOPS, 1.5)

    loops, seconds = examination(tmp_path, make_cell())._begun.read()
    assert [loop.path for loop in loops] == ["/0:numbers"]
    assert seconds == 1.5


@pytest.mark.parametrize(
    "other",
    [
        {"data": "b" * 16},
        {"seed": 1},
        {"bias": 1.0},
        {"settings": {"eval.points": 4}},
        {"settings": {"model.dims": [9]}},
        {"settings": {"run.threads": 2}},
        {"kernels": False},
    ],
    ids=str,
)
def test_that_of_another_evaluation_begins_anew(tmp_path, make_cell, other):
    examination(tmp_path, make_cell())._begun.write(LOOPS, 1.5)

    cell = make_cell(other.get("settings", {}))
    arguments = {k: v for k, v in other.items() if k in ("data", "seed", "bias")}
    with kernels.use(other.get("kernels", True)):
        assert examination(tmp_path, cell, **arguments)._begun.read() == ([], 0.0)
