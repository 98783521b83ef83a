"""scripts/ship_model.py: which runs are refused. Shipped models themselves are tested elsewhere."""

from __future__ import annotations

import json

import pytest
from kit.repository import ROOT, load_script

from vaebench.results import shipped_models


@pytest.fixture
def script(tmp_path, monkeypatch):
    module = load_script("ship_model")
    monkeypatch.setattr(module, "MODELS", tmp_path / "models")
    return module


@pytest.fixture
def run(tmp_path):
    """A copy of a shipped run, which may be changed."""
    shipped = next(iter(sorted((ROOT / "results" / "models").glob("*/seed-*"))))
    folder = tmp_path / "runs" / shipped.parent.name / shipped.name
    folder.mkdir(parents=True)
    for name in shipped_models.KEPT:
        if (shipped / name).exists():
            (folder / name).write_bytes((shipped / name).read_bytes())
    return folder


def change(run, **fields):
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(script, run):
    with pytest.raises(SystemExit) as e:
        script.ship(run)

    assert not (script.MODELS).exists()
    return str(e.value)


def test_a_sound_run_is_shipped(script, run):
    script.ship(run)

    shipped = script.MODELS / run.parent.name / run.name
    assert {path.name for path in shipped.iterdir()} <= set(shipped_models.KEPT)
    assert json.loads((shipped / "result.json").read_text())["status"] == "done"


def test_a_run_that_is_not_sound_is_refused_in_one_line(script, run):
    change(run, flags=["baseline: outside its signals in half of the updates"])
    assert refused(script, run).endswith(": done, flags: baseline; only sound runs are shipped")

    change(run, status="partial", flags=[])
    assert refused(script, run).endswith(": partial, flags: none; only sound runs are shipped")


def test_the_limit_counts_other_seeds_and_not_what_is_replaced(script, run, monkeypatch):
    """Three times the same size: the run again, its own earlier copy, and another seed."""
    script.ship(run)
    size = sum(p.stat().st_size for p in script.MODELS.rglob("*") if p.is_file())

    # Its own copy is replaced, so there is room for it.
    monkeypatch.setattr(script, "LIMIT", int(1.5 * size))
    script.ship(run)

    other_seed = script.MODELS / run.parent.name / "seed-77"
    (script.MODELS / run.parent.name / run.name).rename(other_seed)
    with pytest.raises(SystemExit, match="MiB in all; allowed"):
        script.ship(run)
