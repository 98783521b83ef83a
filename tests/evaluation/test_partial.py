"""What is kept of a stopped evaluation: only what is of this evaluation, whole, and not too
large."""

from __future__ import annotations

import torch

from vaebench.evaluation import partial as module
from vaebench.evaluation.partial import Partial
from vaebench.work import steps


def test_a_file_of_another_evaluation_or_a_damaged_one_is_not_gone_on_with(tmp_path):
    partial = Partial(tmp_path, {"seed": 0, "eval": {"points": None}})
    state = {
        "a": torch.arange(3),
        "b": [(slice(0, 2), torch.ones(2, dtype=torch.float64))],
        "c": {10: 1.5, "x": None},
    }
    partial.write([steps.Kept("/0:numbers", 3, 9, state)], 12.5)
    (loop,), seconds = Partial(tmp_path, {"eval": {"points": None}, "seed": 0}).read()

    assert (loop.path, loop.at, loop.total, seconds) == ("/0:numbers", 3, 9, 12.5)
    assert torch.equal(loop.state["a"], state["a"])
    assert loop.state["b"][0][0] == slice(0, 2)
    assert torch.equal(loop.state["b"][0][1], state["b"][0][1])
    assert loop.state["c"] == state["c"]
    assert Partial(tmp_path, {"seed": 1, "eval": {"points": None}}).read() == ([], 0.0)

    partial.path.write_bytes(partial.path.read_bytes()[:-1])
    assert partial.read() == ([], 0.0)

    partial.remove()
    assert partial.read() == ([], 0.0)
    assert list(tmp_path.iterdir()) == []


def test_states_too_large_to_write_begin_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    partial = Partial(tmp_path, {})
    large, small = ({"a": torch.zeros(n, dtype=torch.uint8)} for n in (101, 100))
    partial.write([steps.Kept("large", 1, 2, large), steps.Kept("small", 1, 2, small)], 0.0)

    assert [loop.path for loop in partial.read()[0]] == ["small"]
