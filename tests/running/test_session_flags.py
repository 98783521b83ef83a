"""What is flagged in a run that was trained: it is stored, listed and told."""

from __future__ import annotations

import pytest
from kit.sessions import result_of

from vaebench.objectives import nvil
from vaebench.running.tasks import Task, work
from vaebench.training import bookkeeping


@pytest.fixture
def astray(monkeypatch):
    """Say in every update that a baseline is far outside the range of its signal."""
    monkeypatch.setattr(nvil, "outside", lambda raw, predicted: raw.new_ones(()))


def test_a_baseline_that_went_astray_marks_the_run(make_cell, run, load_bits, store, astray):
    cell = make_cell()
    assert run(cell) == ["done"]

    result = result_of(store, cell)
    (flag,) = result["flags"]
    assert flag.startswith("baseline: predictions far outside the range of the learning signal")
    assert "validation of update 15," in flag

    frame = store.frame([cell], [0])
    assert all("baseline" in marks for marks in frame["flags"])
    # The same flag, in short, is told of a run that had ended before.
    assert [o.flags for o in work(Task(cell, (0,)))] == ["baseline"]


def test_a_healthy_run_has_no_flags(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    assert result_of(store, cell)["flags"] == []

    # What would be flagged is a column of the curve.
    lines = (store.run_dir(cell.key, 0) / "curve.csv").read_text().splitlines()
    column = lines[0].split(",").index("train_baseline_outside")
    assert {line.split(",")[column] for line in lines[1:]} == {"0.0"}


def test_an_impossible_validation_is_flagged_where_it_is_stored(
    make_cell, run, load_bits, store, monkeypatch
):
    from vaebench.data import DATA, Digits

    # Under this name the data are known to be binary images, so no bound can be below 0.
    monkeypatch.setitem(DATA, "bits", Digits)
    monkeypatch.setattr(bookkeeping, "validation", lambda *args: {"valid_bound": -5.0})
    cell = make_cell()
    run(cell)
    stored = {m["name"]: m["flags"] for m in result_of(store, cell)["measures"]}

    assert stored["bound"] == []
    assert stored["valid_bound"] == ["impossible: -5.00, and of discrete data it is never below 0"]
    assert [o.flags for o in work(Task(cell, (0,)))] == ["kl dead layer, valid_bound impossible"]
