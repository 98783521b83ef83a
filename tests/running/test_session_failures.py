"""What fails in a session is refused or recorded in one line, and leaves the other seeds alone."""

from __future__ import annotations

import pytest
from kit.runs import status
from kit.sessions import after, files_in, result_of

from vaebench.running import examination, session
from vaebench.running.tasks import Task, work
from vaebench.training.programs import NotCompiled


def test_a_run_of_other_data_is_refused_in_one_line_and_left_alone(
    make_cell, load_bits, store, grey
):
    cell = make_cell()
    work(Task(cell, (0,)))
    (store.run_dir(cell.key, 0) / "result.json").unlink()
    files_before = files_in(store.run_dir(cell.key, 0))

    # Other data under the same name.
    load_bits(grey)
    (outcome,) = work(Task(cell, (0,)))

    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"{store.run_dir(cell.key, 0)}: trained on other data (")
    assert grey.hash[:8] in outcome.reason
    assert "--force" in outcome.reason
    assert "\n" not in outcome.reason
    assert files_in(store.run_dir(cell.key, 0)) == files_before

    # With force it starts anew, on the data that are there now.
    assert [o.status for o in work(Task(cell, (0,), force=True))] == ["done"]
    assert result_of(store, cell)["data"]["hash"] == grey.hash


@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors"])
def test_a_damaged_seed_is_refused_alone_and_force_starts_it_anew(
    make_cell, run, load_bits, store, states_of, tmp_path, name
):
    run(make_cell({"run.results": str(tmp_path / "whole")}), (0, 1))

    cell = make_cell()
    stop_at_the_second_report = after(1)
    work(Task(cell, (0, 1)), should_stop=stop_at_the_second_report)

    (store.run_dir(cell.key, 0) / name).write_bytes(b"{")
    damaged, intact = work(Task(cell, (0, 1)))

    assert (damaged.status, intact.status) == ("failed", "done")
    assert name in damaged.reason
    assert "--force" in damaged.reason
    assert not (store.run_dir(cell.key, 0) / "result.json").exists()
    assert run(cell, (0,), force=True) == ["done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "partial"),
        (b"{", "partial"),
        (b"[]", "partial"),
        (b"{}", "partial"),
        (b'{"status": "done", "measures": [{"name": "bound"}, 3]}', "trained"),
    ],
)
def test_a_damaged_result_is_made_again_from_the_checkpoint(
    make_cell, run, load_bits, store, state_of, trained_from, content, expected, caplog
):
    """A file that is no result counts as missing; of a result only its measures may be damaged."""
    cell = make_cell()
    run(cell)
    folder = store.run_dir(cell.key, 0)
    state_before = state_of(folder)
    (folder / "result.json").write_bytes(content)

    assert status(store, cell, 0) == expected
    warned = f"{folder / 'result.json'} is damaged and taken as missing: " in caplog.text
    assert warned == (expected == "partial")

    assert run(cell) == ["done"]
    assert state_of(folder) == state_before
    assert trained_from == [0], "evaluated, not trained again"


def test_a_best_that_is_gone_fails_its_seed_and_no_other(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell, (0, 1))
    for seed in (0, 1):
        # Both are trained, and to be evaluated again.
        (store.run_dir(cell.key, seed) / "result.json").unlink()
    (store.run_dir(cell.key, 0) / "best.safetensors").unlink()
    without_best, intact = work(Task(cell, (0, 1)))

    assert (without_best.status, intact.status) == ("failed", "done")
    assert "best.safetensors: not a usable checkpoint (it is missing)" in without_best.reason
    assert result_of(store, cell)["status"] == "failed"
    assert result_of(store, cell)["reason"] == without_best.reason


@pytest.fixture
def evaluation_fails(monkeypatch):
    """Function that lets the evaluation of these seeds fail from now on, and of no others."""
    real_evaluate = examination.evaluate

    def put(bad_seeds):
        def evaluate(model, x, config, data_hash, seed):
            if seed in bad_seeds:
                raise RuntimeError("no\nsuch luck")

            return real_evaluate(model, x, config, data_hash, seed)

        monkeypatch.setattr(examination, "evaluate", evaluate)

    return put


def test_an_evaluation_that_fails_is_recorded_and_made_up_for(
    make_cell, run, load_bits, store, evaluation_fails, trained_from
):
    cell = make_cell()
    evaluation_fails({1})

    outcomes = work(Task(cell, (0, 1, 2)))

    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == result_of(store, cell, 1)["reason"] == "RuntimeError: no such luck"
    assert result_of(store, cell, 1)["status"] == "failed"

    evaluation_fails(set())
    assert run(cell, (0, 1, 2)) == ["done", "done", "done"]
    # Only the evaluation was made up for.
    assert trained_from == [0]


def test_a_new_evaluation_that_fails_leaves_the_finished_result(
    make_cell, run, load_bits, store, evaluation_fails
):
    cell = make_cell()
    more_samples = make_cell({"eval": {**make_cell().config["eval"], "iw_samples": 9}})
    run(cell)
    result_before = result_of(store, cell)
    evaluation_fails({0})

    assert run(more_samples) == ["failed"]
    assert result_of(store, cell) == result_before


def test_training_that_fails_leaves_the_seeds_beside_it(
    make_cell, run, load_bits, store, monkeypatch
):
    cell = make_cell()
    run(cell, (0,))

    # Trained, and to be evaluated again.
    (store.run_dir(cell.key, 0) / "result.json").unlink()

    def broken(*args):
        raise MemoryError

    with monkeypatch.context() as during_failure:
        during_failure.setattr(session, "train", broken)
        done, *failed = work(Task(cell, (0, 1, 2)))

    assert done.status == "done", "trained before: it is evaluated"
    assert [(o.status, o.reason) for o in failed] == [("failed", "MemoryError: MemoryError")] * 2
    assert run(cell, (1, 2)) == ["done", "done"]


@pytest.mark.parametrize(("stop", "status"), [(True, "interrupted"), (False, "failed")])
def test_a_compiler_that_is_stopped_with_the_rest_is_no_failure(
    make_cell, run, load_bits, monkeypatch, stop, status
):
    """Ctrl-C in a terminal reaches the C++ compiler as well."""

    def broken(*args):
        raise NotCompiled("g++ ended")

    with monkeypatch.context() as during_failure:
        during_failure.setattr(session, "train", broken)
        (outcome,) = work(Task(make_cell(), (0,)), should_stop=lambda: stop)

    assert outcome.status == status

    # The next try has a compiler that works.
    assert run(make_cell(), (0,)) == ["done"]


def test_with_debug_an_unexpected_error_is_raised(
    make_cell, load_bits, evaluation_fails, monkeypatch
):
    monkeypatch.setenv("VAEBENCH_DEBUG", "1")
    evaluation_fails({0})
    with pytest.raises(RuntimeError, match="luck"):
        work(Task(make_cell(), (0,)))
