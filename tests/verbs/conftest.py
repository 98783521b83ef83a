"""A configuration with the small table and a drawn figure, stored runs of that table, and runs of
real commands."""

from __future__ import annotations

import time

import pytest
from kit.runs import store_run
from kit.snippets import LOG, TWO_CELLS
from kit.tables import DRAWN, SMALL

from vaebench.config import catalogue
from vaebench.config.compose import cells


@pytest.fixture
def conf(conf, tmp_path, monkeypatch):
    """The tables ``small`` and ``drawing`` beside the shipped ones. The user's environment sets
    nothing."""
    (conf / "table" / "small.yaml").write_text(SMALL)
    (conf / "table" / "drawing.yaml").write_text(DRAWN)

    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    for name in ("VAEBENCH_MIRROR", "VAEBENCH_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    return conf


@pytest.fixture
def runs(conf, tmp_path):
    """Runs of the small table's first row: NVIL at seeds 0 and 7, wake-sleep at seed 0."""
    root = tmp_path / "runs"
    nvil, ws = cells(
        catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200"]
    )

    store_run(root, nvil, 0, 113.2)
    store_run(root, nvil, 7, 113.4)
    store_run(root, ws, 0, 120.75)

    return root


@pytest.fixture
def results(tmp_path):
    """Where a command keeps its runs, as an argument."""
    return f"run.results={tmp_path / 'runs'}"


@pytest.fixture
def log(tmp_path):
    """(code by which a command notes what it does, function that returns the lines of its notes)"""
    path = tmp_path / "log"
    return LOG.format(
        path=str(path)
    ), lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="session")
def whole(zygote, tmp_path_factory):
    """An uninterrupted command: (results folder, its seconds, stdout, stderr). Only for reading."""
    root = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    command = zygote.start(["run", *TWO_CELLS, f"run.results={root}"])

    code, out, err = command.wait()
    assert code == 0, err

    return root, time.monotonic() - began, out, err


@pytest.fixture
def expected(whole, states_of):
    """The four runs that an uninterrupted command leaves."""
    states = states_of(whole[0])
    assert len(states) == 4
    return states
