"""What a command needs is read once: results and data."""

from __future__ import annotations

from collections import Counter

import pytest
from kit.runs import TINY

from vaebench import cli, data
from vaebench.results import result_file


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where two cells are trained: two rows of a table with the same data."""
    place = tmp_path_factory.mktemp("once")
    loads = []
    patch = pytest.MonkeyPatch()
    real = data.load
    patch.setattr(data, "load", lambda config: loads.append(config) or real(config))
    assert cli.main(["run", *TINY, "--only", "column=WS", f"run.results={place}"]) == 0
    patch.undo()
    assert len(loads) == 1, "the checks and both tasks share what was loaded"
    return place


@pytest.mark.parametrize(
    "command",
    [("run",), ("run", "--dry-run"), ("report",), ("ls", "runs")],
    ids=" ".join,
)
def test_each_result_is_opened_once(root, capsys, monkeypatch, command):
    opened: Counter[str] = Counter()
    real = result_file._content
    monkeypatch.setattr(result_file, "_content", lambda path: opened.update([str(path)]) or real(path))
    words = () if command[0] == "ls" else (*TINY, "--only", "column=WS")
    assert cli.main([*command, *words, f"run.results={root}"]) == 0
    assert sorted(opened.values()) == [1, 1]
