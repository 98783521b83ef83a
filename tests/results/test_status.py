"""Where a run stands: new, partial, trained, done, failed or diverged, by what was asked of it."""

from __future__ import annotations

import pytest
from kit.runs import put_result, status


def test_the_status_of_a_run(make_cell, store):
    cell = make_cell()
    assert status(store, cell, 0) == "new"

    (store.run_dir(cell.key, 0)).mkdir(parents=True)
    assert status(store, cell, 0) == "new", "a lock alone is no run"

    (store.run_dir(cell.key, 0) / "checkpoint.safetensors").touch()
    assert status(store, cell, 0) == "partial"

    for word in ("failed", "diverged", "done", "partial"):
        put_result(store, cell, 0, word)
        assert status(store, cell, 0) == word


@pytest.mark.parametrize("lacking", ["bound", "kl", "active_units", "iw_nll"])
def test_a_finished_run_that_lacks_a_measure_is_only_trained(make_cell, store, lacking):
    cell = make_cell()
    put_result(
        store, cell, 0, names=[n for n in ("bound", "kl", "active_units", "iw_nll") if n != lacking]
    )

    assert status(store, cell, 0) == "trained"


@pytest.mark.parametrize(
    "asked", [{"iw_samples": 6}, {"bound_samples": 4}, {"points": 3}, {"split": "valid"}], ids=str
)
def test_a_finished_run_evaluated_in_another_way_is_only_trained(make_cell, store, asked):
    cell = make_cell()
    put_result(store, cell, 0)
    evaluated_otherwise = make_cell({"eval": {**cell.config["eval"], **asked}})

    assert (status(store, cell, 0), status(store, evaluated_otherwise, 0)) == ("done", "trained")


def test_fewer_evaluations_than_asked_for_are_none(make_cell, store):
    cell = make_cell()
    put_result(store, cell, 0)
    three_repeats = make_cell({"eval": {**cell.config["eval"], "repeats": 3}})

    assert (status(store, cell, 0), status(store, three_repeats, 0)) == ("done", "trained")

    result = store.read_result(cell.key, 0)
    for m in result["measures"]:
        m["extra"] = {"repeats": {"values": [1.0, 2.0, 3.0], "mean": 2.0, "variance": 1.0}}

    store.write_result(cell.key, 0, result)
    assert (status(store, cell, 0), status(store, three_repeats, 0)) == ("done", "done")


def test_measures_that_are_not_asked_for_are_not_missed(make_cell, store):
    cell = make_cell(
        {"eval": {**make_cell().config["eval"], "iw_samples": None, "bound_samples": 1}}
    )
    put_result(store, cell, 0, names=("bound", "kl"))

    assert status(store, cell, 0) == "done"
