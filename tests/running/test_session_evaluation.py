"""When a session evaluates: with the training, later, in another way, or not at all."""

from __future__ import annotations

import pytest
from kit.runs import status
from kit.sessions import after, edit, measures, result_of

from vaebench.running.session import Session
from vaebench.running.tasks import Task, work
from vaebench.training import bookkeeping, checkpoint
from vaebench.work.events import nobody


def test_other_evaluation_settings_add_measures_without_training(make_cell, run, load_bits, store):
    cell = make_cell()
    more_samples = make_cell({"eval": {**make_cell().config["eval"], "iw_samples": 9}})
    assert more_samples.key == cell.key

    run(cell)
    folder = store.run_dir(cell.key, 0)
    files = ["checkpoint.safetensors", "best.safetensors"]
    times_before = [(folder / f).stat().st_mtime_ns for f in files]
    old_result = result_of(store, cell)

    assert status(store, more_samples, 0) == "trained"
    assert run(more_samples) == ["done"]

    new_result = result_of(store, cell)
    assert [(folder / f).stat().st_mtime_ns for f in files] == times_before
    assert measures(old_result).items() < measures(new_result).items()
    assert {m["samples"] for m in new_result["measures"] if m["name"] == "iw_nll"} == {5, 9}
    assert [status(store, c, 0) for c in (cell, more_samples)] == ["done", "done"]


def test_a_later_evaluation_leaves_what_is_said_of_the_training(make_cell, run, load_bits, store):
    cell = make_cell()
    fewer_points = make_cell({"eval": {**make_cell().config["eval"], "points": 4}})
    run(cell, (0, 1))

    path = store.run_dir(cell.key, 0) / "result.json"

    # As if it had been trained elsewhere; the second evaluation is of one seed, not of a pack of
    # two.
    edit(path, device="cuda (another machine)", engine="compiled", peak_memory_mb=123.0)
    run(fewer_points)
    new_result = result_of(store, cell)

    assert [new_result[k] for k in ("pack", "device", "engine", "peak_memory_mb", "updates")] == [
        2, "cuda (another machine)", "compiled", 123.0, 50
    ]  # fmt: skip


def test_the_same_evaluation_replaces_its_measures(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    first_result = result_of(store, cell)

    # As if its first measure had not been taken.
    edit(store.run_dir(cell.key, 0) / "result.json", measures=first_result["measures"][1:])

    assert status(store, cell, 0) == "trained"

    run(cell)
    assert measures(result_of(store, cell)) == measures(first_result)
    assert len(result_of(store, cell)["measures"]) == len(first_result["measures"])


def test_select_last_evaluates_the_last_parameters(make_cell, run, load_bits, store, monkeypatch):
    def evaluated(bounds, **train):
        """Return a result and its values by name, if validations find ``bounds``."""
        script = iter(bounds)
        monkeypatch.setattr(bookkeeping, "validation", lambda *a: {"valid_bound": next(script)})
        cell = make_cell({f"train.{name}": value for name, value in train.items()})

        assert run(cell, force=True) == ["done"]

        result = result_of(store, cell)
        signatures = measures(result)
        assert all(f"select:{cell.train.select}" in s for s in signatures), "it says of which"

        # The bounds of the script are no measures of the parameters.
        values = {s.partition("|")[0]: v for s, v in signatures.items()}
        del values["valid_bound"]
        return result, values

    # Every validation is worse than the one before, so the best one is the first, at update 15.
    best, of_best = evaluated([5.0, 6.0, 7.0, 8.0], select="valid_bound")
    last, of_last = evaluated([5.0, 6.0, 7.0, 8.0], select="last")
    assert (best["best_update"], last["best_update"]) == (15, 15)
    assert all(of_best[name] != of_last[name] for name in ("bound", "iw_nll", "kl"))

    # The same parameters are the best of a run that ends at update 15, and of one that improves.
    assert of_best == evaluated([5.0], select="valid_bound", updates=15)[1]
    assert of_last == evaluated([8.0, 7.0, 6.0, 5.0], select="valid_bound")[1]


def test_evaluating_a_run_in_the_middle_of_its_training_leaves_it_to_be_gone_on_with(
    make_cell, run, load_bits, store, states_of, tmp_path
):
    run(make_cell({"run.results": str(tmp_path / "whole")}))
    cell = make_cell()
    stop_at_the_second_report = after(1)

    assert [o.status for o in work(Task(cell, (0,)), should_stop=stop_at_the_second_report)] == [
        "interrupted"
    ]

    with store.lock(cell.key, 0):
        (result,) = Session(cell, store, [0]).evaluate_only(nobody)
    assert (result["status"], result["updates"], len(measures(result))) == ("partial", 20, 5)
    assert status(store, cell, 0) == "partial"
    assert run(cell) == ["done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_evaluating_a_diverged_run_leaves_it_diverged(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    result = store.read_result(cell.key, 0)

    # As if it had diverged at its last update: the checkpoint is of the one before.
    path = store.run_dir(cell.key, 0) / "checkpoint.safetensors"
    state = checkpoint.read(path)
    state.meta.update(update=state.meta["update"] - 1, status="running")
    checkpoint.write(path, state)
    store.write_result(
        cell.key, 0, {**result, "status": "diverged", "reason": "nan", "measures": []}
    )

    (again,) = Session(cell, store, [0]).evaluate_only(nobody)

    assert again["status"] == "diverged"
    assert again["measures"]


@pytest.mark.parametrize(("select", "expected"), [("valid_bound", 5.0), ("last", 7.0)])
def test_the_validation_bound_is_that_of_the_evaluated_parameters(
    make_cell, run, load_bits, store, monkeypatch, select, expected
):
    values = iter([6.0, 5.0, 7.0, 7.0, 7.0])
    monkeypatch.setattr(bookkeeping, "validation", lambda *args: {"valid_bound": next(values)})

    cell = make_cell({"train.select": select, "train.updates": 45})
    run(cell)

    # Validations at 15, 30 and 45: the second is the best, 5, and the third the last one, 7.
    stored_measures = store.read_result(cell.key, 0)["measures"]

    assert next(m["value"] for m in stored_measures if m["name"] == "valid_bound") == expected


def test_a_stop_after_the_training_leaves_the_evaluation_for_later(
    make_cell, run, load_bits, store, trained_from
):
    cell = make_cell()
    evaluating = []

    def note_evaluation(event):
        if "evaluating seed 0" in getattr(event, "line", ""):
            evaluating.append(1)

    outcomes = work(Task(cell, (0, 1)), note_evaluation, lambda: bool(evaluating))
    reason = "the evaluation of seed 0 stopped at its beginning; what it has found is kept"

    assert [(o.status, o.reason) for o in outcomes] == [("interrupted", reason)] * 2

    assert run(cell, (0, 1)) == ["done", "done"]

    # Trained once, in the first session.
    assert trained_from == [0]


def test_a_run_that_is_not_to_be_evaluated_is_trained_and_told_with_its_validation(
    make_cell, load_bits, store
):
    cell = make_cell()
    (outcome,) = work(Task(cell, (0,), evaluate=False))

    result = result_of(store, cell)
    validation = {m["name"]: m["value"] for m in result["measures"]}["valid_bound"]

    assert (outcome.status, outcome.measure, outcome.value) == (
        "trained",
        "valid_bound",
        validation,
    )
    assert result["status"] == "trained"
    assert {m["name"] for m in result["measures"]} <= {"valid_bound", "ms_per_update", "hours"}
    assert status(store, cell, 0) == "trained"

    result_bytes = (store.run_dir(cell.key, 0) / "result.json").read_bytes()
    assert [o.status for o in work(Task(cell, (0,), evaluate=False))] == ["trained"]
    assert (store.run_dir(cell.key, 0) / "result.json").read_bytes() == result_bytes, (
        "there was nothing to do"
    )


def test_an_evaluation_some_other_time_ends_in_the_same_bits(
    make_cell, run, load_bits, store, states_of, trained_from, tmp_path
):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    assert run(whole, (0, 1)) == ["done", "done"]
    assert run(make_cell(), (0, 1), evaluate=False) == ["trained", "trained"]

    trained_from.clear()
    assert run(make_cell(), (0, 1)) == ["done", "done"]

    assert trained_from == []
    assert states_of(store.root) == states_of(tmp_path / "whole")


def test_a_diverged_run_is_so_without_an_evaluation_too(make_cell, run, load_bits, store):
    assert run(make_cell({"optim.rate": 1e30}), evaluate=False) == ["diverged"]


def test_a_run_with_another_evaluation_needs_none(make_cell, run, load_bits, store, state_of):
    run(make_cell())
    folder = store.run_dir(make_cell().key, 0)
    before = state_of(folder)

    assert run(make_cell({"eval.bound_samples": 7}), evaluate=False) == ["trained"]
    assert state_of(folder) == before
