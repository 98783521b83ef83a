"""The training's own clock: what it counts and what not, and the measure that is made of it."""

from __future__ import annotations

import contextlib
import json
import time
import types
from dataclasses import replace

import pytest
import torch
from kit.runs import pending, status

from vaebench.errors import Interrupted
from vaebench.running import session
from vaebench.running.tasks import Task, work
from vaebench.training import bookkeeping, checkpoint
from vaebench.training import clock as timing
from vaebench.training import loop as train
from vaebench.training.engines import Pack
from vaebench.training.run_state import RunState, progress_of
from vaebench.work.steps import Work

UPDATE = 1.0
VALIDATION = 1000.0
NOISE = 0.125
"""Seconds of an update, of a validation, and of the noise of a block, on a clock that only these
move. All are exact in binary, so sums can be compared exactly."""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for updates, validations and noise; ``at`` is its time."""
    now = types.SimpleNamespace(at=0.0)

    def taking(seconds, real):
        """Return ``real``, but let it take so many seconds, or as many as a function says."""

        def call(*args, **kwargs):
            result = real(*args, **kwargs)
            now.at += seconds(*args) if callable(seconds) else seconds
            return result

        return call

    monkeypatch.setattr(
        Pack, "advance", taking(lambda pack, index, *rest: UPDATE * len(index), Pack.advance)
    )
    monkeypatch.setattr(bookkeeping, "validation", taking(VALIDATION, bookkeeping.validation))
    monkeypatch.setattr(train.noise, "update_block", taking(NOISE, train.noise.update_block))
    only_clock = types.SimpleNamespace(process_time=lambda: now.at, monotonic=lambda: now.at)

    for module in (timing, bookkeeping):
        monkeypatch.setattr(module, "time", only_clock)
    return now


@pytest.fixture
def go(make_config, splits, tmp_path):
    """Function that trains seeds from where they stand to the end, or for ``stop`` reports.

    It returns where they stand then.
    """

    def go(seeds=(0,), stop=None):
        states = [progress_of(tmp_path / f"seed-{s}", s) for s in seeds]
        report_numbers = iter(range(1, 1000))

        with contextlib.suppress(Interrupted):
            train.train(
                *(make_config(), splits, states, torch.device("cpu"), "plain"),
                should_stop=lambda: next(report_numbers) == stop,
            )

        return states

    return go


def test_updates_and_their_noise_are_timed_and_validations_are_not(go, clock):
    (seed,) = go()
    assert (seed.timed, seed.update_seconds) == (50, 50 * UPDATE + 3 * NOISE)  # blocks of 20
    assert seed.seconds == seed.update_seconds + 4 * VALIDATION  # after 15, 30, 45 and 50 updates
    assert seed.ms_per_update == 1000 * (50 * UPDATE + 3 * NOISE) / 50


def test_a_seed_of_a_pack_has_its_share(go, clock):
    a, b = go(seeds=(0, 1))

    assert a.ms_per_update == b.ms_per_update == 1000 * (50 * UPDATE + 3 * NOISE) / 50 / 2


def test_the_clock_goes_on_with_the_run(go, clock, tmp_path):
    go(stop=2)  # 15 updates, then 5 to the end of the block
    meta = checkpoint.read(tmp_path / "seed-0/checkpoint.safetensors").meta
    assert (meta["timed"], meta["update_seconds"]) == (20, 20 * UPDATE + NOISE)

    (seed,) = go()
    assert (seed.timed, seed.update_seconds) == (50, 50 * UPDATE + 3 * NOISE)


def test_a_checkpoint_without_a_clock_is_gone_on_with(go, clock, tmp_path):
    """An earlier version kept no clock: only what is trained from there on is timed."""
    path = tmp_path / "seed-0/checkpoint.safetensors"

    go(stop=2)
    old = checkpoint.read(path)
    old.meta = {k: v for k, v in old.meta.items() if k not in ("update_seconds", "timed")}
    checkpoint.write(path, old)

    assert progress_of(tmp_path / "seed-0", 0).ms_per_update is None

    (seed,) = go()

    # 20 updates are not timed, but their seconds are known.
    assert (seed.update, seed.timed, seed.update_seconds) == (50, 30, 30 * UPDATE + 2 * NOISE)
    assert seed.ms_per_update == 1000 * (30 * UPDATE + 2 * NOISE) / 30
    assert seed.seconds == 50 * UPDATE + 3 * NOISE + 4 * VALIDATION


# -------------------------------------------------------------------------------------- in a result


def measures(store, cell, name):
    """Return the measures of this name in the result of seed 0."""
    stored = json.loads((store.run_dir(cell.key, 0) / "result.json").read_text())["measures"]

    return [m for m in stored if m["name"] == name]


def test_a_result_has_the_time_and_evaluating_again_keeps_it(make_cell, store, load_bits, clock):
    cell = make_cell()
    work(Task(cell, (0,)))
    (time_measure,) = measures(store, cell, "ms_per_update")

    # Per update in ms: its own second, and its share of the noise of three blocks.
    assert (time_measure["value"], time_measure["unit"], time_measure["extra"]) == (
        1000 + 1000 * 3 * NOISE / 50,
        "ms",
        {"timed_updates": 50},
    )
    assert time_measure["signature"].startswith("ms_per_update|data:bits@")
    assert time_measure["error"] is None

    work(Task(make_cell({"eval": {**cell.config["eval"], "split": "train"}}), (0,)))
    assert measures(store, cell, "ms_per_update") == [time_measure]


def test_a_run_without_a_clock_has_no_time(make_cell, store, load_bits, monkeypatch):
    monkeypatch.setattr(RunState, "ms_per_update", None)
    cell = make_cell()
    assert work(Task(cell, (0,)))[0].status == "done"
    assert measures(store, cell, "ms_per_update") == []


# ------------------------------------------------------------------------------ columns share a run


@pytest.fixture
def columns(make_cell):
    """Three columns of one row: the test images, the training images, the time."""
    settings = make_cell().config["eval"]
    test, train_, time = (
        make_cell({"eval": {**settings, "split": s}}, column=s) for s in ("test", "train", "test")
    )

    return [test, train_, replace(time, column="time", measure="ms_per_update", published=22.0)]


def test_the_first_column_trains_and_the_second_only_evaluates(
    columns, store, load_bits, monkeypatch
):
    assert len({c.key for c in columns}) == 1

    test, train_, time = columns

    # Test images and time need one run's work, the training images an evaluation more.
    assert [len(pending(store, some, [0])) for some in ([test, time], columns)] == [1, 2]

    assert work(Task(test, (0,)))[0].status == "done"

    # To the second column the run is trained and not evaluated as it asks.
    assert [status(store, c, 0) for c in columns] == ["done", "trained", "done"]

    note = (store.run_dir(test.key, 0) / "config.json").read_text()
    monkeypatch.setattr(session, "train", None)  # nothing is trained any more

    assert work(Task(train_, (0,)))[0].status == "done"
    assert [status(store, c, 0) for c in columns] == ["done", "done", "done"]
    assert pending(store, columns, [0]) == []
    assert (store.run_dir(test.key, 0) / "config.json").read_text() == note, (
        "it says for what the run was trained"
    )


def test_each_column_has_its_own_measures(columns, store, load_bits):
    for cell in columns[:2]:
        work(Task(cell, (0,)))
    frame = store.frame(columns, [0])
    metrics_by_column = {
        c: set(frame[frame["column"] == c]["metric"]) for c in ("test", "train", "time")
    }
    metrics_of_an_evaluation = {"bound", "kl", "active_units", "iw_nll", "valid_bound"}

    assert metrics_by_column == {
        "test": metrics_of_an_evaluation,
        "train": metrics_of_an_evaluation,
        "time": {"ms_per_update"},
    }
    assert not frame["extra"].str.contains("current").any()

    # A validation is on the validation images, whatever the column.
    splits = {
        (r.column, r.signature.split("|split:")[1].split("|")[0])
        for r in frame.itertuples()
        if r.unit == "nats"
    }

    assert splits == {("test", "test"), ("train", "train"), ("test", "valid"), ("train", "valid")}

    # The two bounds are of 9 test and of 30 training images.
    assert frame[frame["metric"] == "bound"]["value"].nunique() == 2
    assert frame[frame["metric"] == "bound"]["points"].tolist() == [9, 30]
    assert frame[frame["column"] == "time"]["published"].tolist() == [22.0]

    # The other evaluation is that of no cell here: it is shown, and marked as not current.
    shown = store.frame(columns[:1], [0])
    assert shown[shown["metric"] == "bound"]["extra"].str.contains("current").tolist() == [
        True,
        False,
    ]


def test_a_column_of_times_without_one_has_a_row_that_says_so(
    columns, store, load_bits, monkeypatch
):
    monkeypatch.setattr(RunState, "ms_per_update", None)
    work(Task(columns[0], (0,)))
    frame = store.frame(columns[2:], [0])

    assert (frame["status"].tolist(), frame["metric"].tolist()) == (["done"], [""])


def test_hours_are_of_all_and_say_what_had_inner_loops(tmp_path):
    seed = RunState(0, tmp_path, update=30, seconds=7200.0, update_seconds=3600.0, timed=30)
    seed.curve = [
        {"update": 10, "seconds": 1800.0, "train_inner": 20.0},
        {"update": 20, "seconds": 3600.0, "train_inner": 0.0},
        {"update": 30, "seconds": 5400.0, "train_inner": 3.0},
    ]

    # One hour of updates. The first and the third stretch, half an hour each, had inner loops.
    assert seed.parts_of_time == {"updates": 1.0, "with_inner_loops": 1.0}


# -------------------------------------------------------------------------------------- which clock


@pytest.fixture
def threads():
    """A function that sets the number of threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_one_thread_is_timed_by_what_it_works(threads):
    threads(1)
    cpu = torch.device("cpu")
    assert timing.clock(cpu) == "processor"

    processor_began = timing.seconds(cpu)
    wall_began = time.monotonic()
    time.sleep(0.2)

    assert timing.seconds(cpu) - processor_began < 0.1 < time.monotonic() - wall_began, (
        "sleep is no work"
    )


@pytest.mark.parametrize(("device", "number"), [("cpu", 2), ("cuda", 1)])
def test_else_what_passes_is_timed(threads, device, number):
    threads(number)
    assert timing.clock(torch.device(device)) == ""

    began = timing.seconds(torch.device(device))
    time.sleep(0.1)
    assert timing.seconds(torch.device(device)) - began >= 0.1


def test_the_seconds_of_a_block_of_work_are_by_its_clock():
    now = types.SimpleNamespace(at=5.0)
    with Work(spent=2.0, clock=lambda: now.at) as block:
        now.at = 8.0

    # Two seconds that were spent before, and the three of the block.
    assert block.seconds == 5.0


@pytest.mark.parametrize(
    ("began", "goes_on", "known"),
    [(1, 1, "processor"), (1, 2, ""), (2, 1, ""), (2, 2, ""), (None, 1, "")],
)
def test_seconds_of_several_clocks_have_none(go, clock, threads, began, goes_on, known):
    """Numbers of threads before and after a stop; None: an earlier version, which kept no clock."""
    threads(began or 1)
    (seed,) = go(stop=1)
    assert seed.clock == ("processor" if began != 2 else "")

    if began is None:
        old_checkpoint = checkpoint.read(seed.last)
        old_checkpoint.meta = {k: v for k, v in old_checkpoint.meta.items() if k != "clock"}
        checkpoint.write(seed.last, old_checkpoint)

    threads(goes_on)
    (seed,) = go()
    assert (seed.update, seed.clock) == (50, known)
