"""A task at work: locks, waiting, stops, full disks, and failures that stay where they are."""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import time
from dataclasses import replace

import pytest
from kit.runs import put_result

from vaebench import data
from vaebench.errors import DataError
from vaebench.results import lock
from vaebench.results.store import Store
from vaebench.running import tasks as runner
from vaebench.running.tasks import Outcome, Task, work
from vaebench.training.engines import Pack


def test_what_somebody_finished_since_it_was_planned_is_not_run_again(make_cell, load_bits, store):
    cell = make_cell()
    put_result(store, cell, 0)
    put_result(store, cell, 1, "diverged")
    said = []
    outcomes = work(
        Task(cell, (0, 1, 2)),
        lambda event: said.append(event) if isinstance(event, Outcome) else None,
    )

    assert [(o.seed, o.status) for o in outcomes] == [(0, "done"), (1, "diverged"), (2, "done")]
    assert (outcomes[0].value, outcomes[1].reason) == (1.0, "why")
    assert said == outcomes

    # No seed that had ended was trained.
    assert not (store.run_dir(cell.key, 0) / "checkpoint.safetensors").exists()


def test_a_run_is_told_with_the_measure_of_its_table_taken_as_it_asks(make_cell, load_bits, store):
    cell = replace(make_cell(), measure="iw_nll")
    first_outcomes = work(Task(cell, (0,)))
    second_outcomes = work(Task(cell, (0,)))
    value = {m["name"]: m["value"] for m in store.read_result(cell.key, 0)["measures"]}["iw_nll"]

    assert [(o.value, o.measure) for o in first_outcomes + second_outcomes] == [
        (value, "iw_nll")
    ] * 2

    more_samples = replace(
        make_cell({"eval": {**cell.config["eval"], "iw_samples": 9}}), measure="iw_nll"
    )
    (with_more_samples,) = work(Task(more_samples, (0,)))
    assert (with_more_samples.measure, with_more_samples.value == value) == ("iw_nll", False)
    assert work(Task(cell, (0,)))[0].value == value, "both are in the result"

    # This run has no log Z, so its bound is told.
    (without_measure,) = work(Task(replace(cell, measure="log_z"), (0,)))
    assert without_measure.measure == "bound"
    assert without_measure.value is not None


def test_a_run_in_another_hand_is_busy_and_its_neighbours_run(make_cell, load_bits, store):
    cell = make_cell()
    with store.lock(cell.key, 1):
        outcomes = work(Task(cell, (0, 1, 2)))

    assert {o.seed: o.status for o in outcomes} == {0: "done", 1: "busy", 2: "done"}
    assert not (store.run_dir(cell.key, 1) / "config.json").exists()


def test_locks_are_given_back(make_cell, load_bits, store):
    cell = make_cell()
    work(Task(cell, (0,)))
    with store.lock(cell.key, 0):
        pass


def test_a_task_that_waits_takes_what_the_other_left(make_cell, load_bits, store, monkeypatch):
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.01)
    cell = make_cell()
    lock_is_held = threading.Event()
    lock_may_go = threading.Event()

    def finish_meanwhile():
        with store.lock(cell.key, 0):
            lock_is_held.set()
            lock_may_go.wait(20)
            put_result(store, cell, 0)

    # Another process, in a thread: it holds the run, and writes its result before it lets it go.
    other_process = threading.Thread(target=finish_meanwhile)
    other_process.start()
    lock_is_held.wait(20)

    outcomes = []
    waiting_task = threading.Thread(
        target=lambda: outcomes.extend(work(Task(cell, (0,), wait=True)))
    )
    waiting_task.start()

    # Time in which a task that does not wait would have ended.
    time.sleep(0.1)

    assert outcomes == []

    lock_may_go.set()
    waiting_task.join(20)
    other_process.join(20)

    assert [(o.status, o.value) for o in outcomes] == [("done", 1.0)]
    assert not (store.run_dir(cell.key, 0) / "checkpoint.safetensors").exists(), (
        "the other had finished it"
    )


def test_a_task_that_waits_can_be_stopped(make_cell, load_bits, store, monkeypatch):
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.01)
    cell = make_cell()
    answers = iter([False, False, False, True])

    with store.lock(cell.key, 0):
        (outcome,) = work(Task(cell, (0,), wait=True), should_stop=lambda: next(answers))

    assert outcome.status == "busy"


def test_a_task_whose_lock_was_taken_stops_and_leaves_its_runs_to_the_other(
    make_cell, load_bits, store
):
    cell = make_cell()
    path = store.run_dir(cell.key, 1) / ".lock"

    def should_stop():
        # Another process takes the lock of the second seed; the heartbeat notices it.
        if path.exists():
            path.write_text("of another")
            for held in lock._heart._held:
                held.beat()

        return False

    outcomes = work(Task(cell, (0, 1)), should_stop=should_stop)

    assert [o.status for o in outcomes] == ["busy", "busy"]
    assert path.read_text() == "of another"

    # The other process is done with it.
    path.unlink()
    assert [o.status for o in work(Task(cell, (0, 1)))] == ["done", "done"]


def test_a_task_that_is_stopped_before_it_began_touches_nothing(make_cell, load_bits, tmp_path):
    outcomes = work(Task(make_cell(), (0, 1)), should_stop=lambda: True)
    assert [(o.status, o.reason) for o in outcomes] == [
        ("interrupted", "stopped before it began")
    ] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_fails_its_run_alone(make_cell, load_bits, store):
    cell = make_cell()
    folder = store.run_dir(cell.key, 1)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    by_seed = {o.seed: o for o in work(Task(cell, (0, 1)))}

    assert (by_seed[0].status, by_seed[1].status) == ("done", "failed")
    assert by_seed[1].reason == f"{folder}: not a folder"


def test_data_that_cannot_be_had_fail_the_task_in_one_line(make_cell, monkeypatch, store):
    def load(config, **kw):
        raise DataError("bits: nothing\nthere")

    monkeypatch.setattr(data, "load", load)
    outcomes = work(Task(make_cell(), (0, 1)))

    assert [(o.status, o.reason) for o in outcomes] == [("failed", "bits: nothing there")] * 2


def test_a_device_that_is_not_there_fails_the_task(make_cell, load_bits):
    (outcome,) = work(Task(make_cell({"run.device": "cuda:99"}), (0,)))
    assert outcome.status == "failed"
    assert outcome.reason.startswith("run.device=cuda:99: this machine has")


@pytest.mark.parametrize("full_after", [0, 1, 3, 6, -1])
def test_a_full_disk_fails_in_one_line_and_a_rerun_completes(
    make_cell, load_bits, states_of, tmp_path, monkeypatch, full_after
):
    """Wherever the room ends: at the first note, a checkpoint, a result.

    What was written before stays whole. ``full_after`` is the number of files for which there is
    room; -1: for all but the last.
    """
    real_fsync = os.fsync
    room = [1000]

    def fsync(handle):
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return  # a folder needs no room

        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(handle)

    with monkeypatch.context() as with_full_disk:
        with_full_disk.setattr(os, "fsync", fsync)

        # With room for everything, count the files that a run writes.
        work(Task(make_cell({"run.results": str(tmp_path / "whole")}), (0,)))
        written = 1000 - room[0]

        assert written > 10

        # Then let the disk be full during the same run in another folder.
        room[0] = full_after if full_after >= 0 else written - 1
        cell = make_cell()
        (outcome,) = work(Task(cell, (0,)))

    folder = Store(tmp_path / "runs").run_dir(cell.key, 0)
    assert (outcome.status, outcome.reason) == ("failed", f"No space left on device: {folder}")
    assert list(folder.glob("*.tmp")) == list(folder.glob(".*.tmp")) == []
    assert work(Task(cell, (0,)))[0].status == "done"
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_a_full_disk_leaves_finished_results_whole(
    make_cell, load_bits, store, state_of, monkeypatch
):
    cell = make_cell()
    work(Task(cell, (0,)))
    state_before = state_of(store.run_dir(cell.key, 0))

    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    more_samples = make_cell({"eval": {**cell.config["eval"], "iw_samples": 9}})
    (outcome,) = work(Task(more_samples, (0,)))

    assert outcome.status == "failed"
    assert state_of(store.run_dir(cell.key, 0)) == state_before


def test_a_diverged_run_is_recorded_and_its_neighbour_trained(
    make_cell, load_bits, store, monkeypatch
):
    real_advance = Pack.advance

    def advance(self, *args):
        sums = real_advance(self, *args)
        # The metrics of the second seed of the pack are NaN.
        return {k: v * v.new_tensor([1.0, math.nan]) for k, v in sums.items()}

    cell = make_cell()

    with monkeypatch.context() as during_divergence:
        during_divergence.setattr(Pack, "advance", advance)
        good, bad = work(Task(cell, (0, 1)))

    assert (good.status, bad.status) == ("done", "diverged")

    result = store.read_result(cell.key, 1)
    assert (result["status"], result["measures"]) == ("diverged", [])
    assert (result["updates"], result["stopped_early"]) == (0, False)
    assert result["reason"] == bad.reason == (
        "the training bound is not finite at update 15; there is no checkpoint yet"
    )  # fmt: skip
    assert [o.status for o in work(Task(cell, (0, 1)))] == ["done", "diverged"], "not run again"
    assert [o.status for o in work(Task(cell, (1,), force=True))] == ["done"]
