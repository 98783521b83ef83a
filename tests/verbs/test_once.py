"""What a command needs is read and built once: results, data, models."""

from __future__ import annotations

from collections import Counter

import pytest
from kit.runs import TINY

from vaebench import cli, data, models
from vaebench.results import result_file


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A results folder with two trained cells on the same data: one row, NVIL and wake-sleep."""
    folder = tmp_path_factory.mktemp("once")
    loads = []
    patch = pytest.MonkeyPatch()
    real = data.load
    patch.setattr(data, "load", lambda config: loads.append(config) or real(config))

    assert cli.main(["run", *TINY, "--only", "column=WS", f"run.results={folder}"]) == 0
    patch.undo()

    assert len(loads) == 1, "the checks and both tasks share what was loaded"
    return folder


@pytest.mark.parametrize(
    "command",
    [("run",), ("run", "--dry-run"), ("report",), ("ls", "runs")],
    ids=" ".join,
)
def test_each_result_is_opened_once(root, capsys, monkeypatch, command):
    opened: Counter[str] = Counter()
    real = result_file._content
    monkeypatch.setattr(
        result_file, "_content", lambda path: opened.update([str(path)]) or real(path)
    )

    words = () if command[0] == "ls" else (*TINY, "--only", "column=WS")

    assert cli.main([*command, *words, f"run.results={root}"]) == 0

    # Two runs, each of which has one result.
    assert sorted(opened.values()) == [1, 1]


@pytest.fixture
def built(monkeypatch):
    """The device of each model that is built, in their order; ``meta`` allocates no memory."""
    devices: list[str] = []
    real = models.build

    def build(config, info):
        model = real(config, info)
        devices.append(next(model.parameters()).device.type)
        return model

    monkeypatch.setattr(models, "build", build)

    return devices


@pytest.mark.parametrize(
    "seeds",
    [("0-1",), ("0-1", "run.pack=1", "objective=wake_sleep"), ("0", "train.snapshots=[0,2]")],
    ids=["together", "one by one", "with snapshots"],
)
def test_a_task_builds_its_model_once(tmp_path, built, seeds):
    """It serves training and evaluation of all seeds. The check before anything starts builds one
    more, which allocates no memory."""
    command = ["run", *TINY, f"run.results={tmp_path}", "--seeds", *seeds]

    assert cli.main(command) == 0

    # ``run.pack=1`` trains each of the two seeds in a task of its own.
    tasks = 2 if "run.pack=1" in seeds else 1
    assert built == ["meta"] + ["cpu"] * tasks

    built.clear()
    assert cli.main([*command, "eval.bound_samples=3"]) == 0
    assert built == ["meta"] + ["cpu"] * tasks, "evaluated anew"
