"""A configuration with the small table and a drawn figure, and stored runs of that table."""

from __future__ import annotations

import pytest
from kit.runs import store_run
from kit.tables import DRAWN, SMALL

from vaebench.config import catalogue
from vaebench.config.compose import cells


@pytest.fixture
def conf(conf, tmp_path, monkeypatch):
    """The tables ``small`` and ``drawing`` beside the shipped ones; no setting of the user's environment."""
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
    nvil, ws = cells(catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200"])
    store_run(root, nvil, 0, 113.2)
    store_run(root, nvil, 7, 113.4)
    store_run(root, ws, 0, 120.75)
    return root
