"""Cells x seeds: what is left to do, how it is packed, locks, failures that stay where they are."""

from __future__ import annotations

import errno
import math
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from kit.runs import pending, status

from vaebench import data, models
from vaebench.config.catalogue import load_preset, load_table
from vaebench.config.cells import run_key
from vaebench.config.compose import cells
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import DataError, UserError
from vaebench.protocol.signature import signature
from vaebench.results import lock
from vaebench.results.stats import Measure
from vaebench.results.store import Store
from vaebench.running import tasks as runner
from vaebench.running.tasks import Outcome, Task, check, preflight, tasks, unit, work
from vaebench.training.batches import Batches
from vaebench.training.build import too_short
from vaebench.training.engines import Pack


def measure(cell, name, **settings):
    config = {**cell.config, "eval": {**cell.config["eval"], **settings}}
    samples = config["eval"]["iw_samples" if name == "iw_nll" else "bound_samples"]
    return Measure(name, 1.0, "nats", signature=signature(config, name, samples, "ab" * 32)).to_dict()


def put(store, cell, seed, status="done", names=("bound", "kl", "active_units", "iw_nll"), **settings):
    store.write_result(
        cell.key, seed, {"status": status, "measures": [measure(cell, n, **settings) for n in names], "reason": "why"}
    )


# ------------------------------------------------------------------------------------------------- what is left


def test_the_status_of_a_run(make_cell, store):
    cell = make_cell()
    assert status(store, cell, 0) == "new"
    (store.run_dir(cell.key, 0)).mkdir(parents=True)
    assert status(store, cell, 0) == "new", "a lock alone is no run"
    (store.run_dir(cell.key, 0) / "checkpoint.safetensors").touch()
    assert status(store, cell, 0) == "partial"
    for said in ("failed", "diverged", "done", "partial"):
        put(store, cell, 0, said)
        assert status(store, cell, 0) == said


@pytest.mark.parametrize("lacking", ["bound", "kl", "active_units", "iw_nll"])
def test_a_finished_run_that_lacks_a_measure_is_only_trained(make_cell, store, lacking):
    cell = make_cell()
    put(store, cell, 0, names=[n for n in ("bound", "kl", "active_units", "iw_nll") if n != lacking])
    assert status(store, cell, 0) == "trained"


@pytest.mark.parametrize("asked", [{"iw_samples": 6}, {"bound_samples": 4}, {"points": 3}, {"split": "valid"}], ids=str)
def test_a_finished_run_evaluated_in_another_way_is_only_trained(make_cell, store, asked):
    cell = make_cell()
    put(store, cell, 0)
    other = make_cell({"eval": {**cell.config["eval"], **asked}})
    assert (status(store, cell, 0), status(store, other, 0)) == ("done", "trained")


def test_fewer_evaluations_than_asked_for_are_none(make_cell, store):
    cell = make_cell()
    put(store, cell, 0)
    more = make_cell({"eval": {**cell.config["eval"], "repeats": 3}})
    assert (status(store, cell, 0), status(store, more, 0)) == ("done", "trained")
    result = store.read_result(cell.key, 0)
    for m in result["measures"]:
        m["extra"] = {"repeats": {"values": [1.0, 2.0, 3.0], "mean": 2.0, "variance": 1.0}}
    store.write_result(cell.key, 0, result)
    assert (status(store, cell, 0), status(store, more, 0)) == ("done", "done")


def test_measures_that_are_not_asked_for_are_not_missed(make_cell, store):
    cell = make_cell({"eval": {**make_cell().config["eval"], "iw_samples": None, "bound_samples": 1}})
    put(store, cell, 0, names=("bound", "kl"))
    assert status(store, cell, 0) == "done"


def test_pending_skips_what_ended_and_keeps_the_order(make_cell, store):
    a, b, c = (make_cell({"train.updates": n}) for n in (30, 40, 50))
    put(store, a, 0)
    put(store, a, 1, "diverged")
    put(store, b, 0, "failed")
    put(store, b, 1)
    assert pending(store, [c, a, b], [1, 0]) == [(c, [1, 0]), (b, [0])]
    assert pending(store, [a, b], [0, 1], force=True) == [(a, [0, 1]), (b, [0, 1])]


def test_cells_that_share_a_run_come_once_unless_they_evaluate_it_in_other_ways(make_cell, store):
    a, same = make_cell(row="A"), make_cell(row="B")
    other = make_cell({"eval": {**a.config["eval"], "iw_samples": 9}}, row="C")
    assert a.key == same.key == other.key
    assert unit(a) == unit(same) != unit(other)
    assert [c.row for c, _ in pending(store, [a, same, other], [0])] == ["A", "C"]


@pytest.mark.parametrize(
    ("unit", "updates", "share"), [("updates", 60, 0.5), ("updates", 20, 1.0), ("epochs", 8, 0.75)]
)
def test_what_is_behind_a_partial_run_is_read_from_its_curve(make_cell, store, unit, updates, share):
    cell = make_cell({"train.updates": updates, "train.unit": unit, "train.valid_every": 3})
    folder = store.run_dir(cell.key, 0)
    assert runner.share_done(store, cell, 0) == 0
    folder.mkdir(parents=True)
    for text, expected in (("", 0), ("update,seconds\n", 0), ("update,seconds\n15,0.1\n30,0.2\n", share), ("\0\n", 0)):
        (folder / "curve.csv").write_text(text)
        assert runner.share_done(store, cell, 0) == expected


# -------------------------------------------------------------------------------------------------- how it is packed


@pytest.mark.parametrize(
    ("cells", "seeds", "jobs", "pack", "sizes"),
    [
        (1, 5, 1, 8, [5]),
        (1, 5, 1, 2, [2, 2, 1]),
        (1, 5, 2, 8, [3, 2]),
        (1, 4, 8, 8, [1, 1, 1, 1]),
        (2, 4, 2, 8, [4, 4]),
        (2, 4, 4, 8, [2, 2, 2, 2]),
        (3, 2, 2, 1, [1] * 6),
    ],
)
def test_seeds_are_packed_so_that_every_job_has_work(make_cell, cells, seeds, jobs, pack, sizes):
    todo = [(make_cell({"train.updates": 30 + n}), list(range(seeds))) for n in range(cells)]
    made = tasks(todo, jobs, pack, force=True)
    assert [len(t.seeds) for t in made] == sizes
    assert all(t.force and not t.wait for t in made)
    for cell, _ in todo:
        assert [s for t in made if t.cell is cell for s in t.seeds] == list(range(seeds))


def test_the_number_of_jobs():
    assert runner.jobs(3, "cpu") == 3
    assert runner.jobs("auto", "cuda") == runner.jobs("auto", "cuda:1") == 1
    assert runner.jobs("auto", "cpu") >= 1


def test_a_device_or_data_that_are_not_there_stop_everything_before_it_runs(make_cell, load_bits, monkeypatch):
    with pytest.raises(UserError, match="cuda:99"):
        preflight([make_cell(), make_cell({"run.device": "cuda:99"})])

    def load(config, **kw):
        raise DataError("nothing there")

    monkeypatch.setattr(data, "load", load)
    with pytest.raises(DataError, match="nothing there"):
        preflight([make_cell()])


LADDER = {"objective": {"name": "greedy", "lower": 3}, "model": {"name": "dbn", "dims": [3, 2]}}
EONADE = {
    "objective": {"name": "order_agnostic", "pretraining": 20},
    "model": {"name": "eonade", "units": 3, "layers": 3},
}


@pytest.mark.parametrize(
    ("settings", "updates", "unit", "said"),
    [
        (LADDER, 3, "epochs", "objective.lower=3: the first 3 epochs train a part .*, and there are 3 epochs"),
        (LADDER, 4, "epochs", ""),
        (LADDER, 9, "updates", "objective.lower=3: the first 3 epochs .* 9 updates"),
        (LADDER, 10, "updates", ""),
        (EONADE, 40, "updates", r"objective.pretraining=20: the first 40 updates .* 40 updates \(train"),
        (EONADE, 41, "updates", ""),
        (EONADE, 13, "epochs", "objective.pretraining=20: the first 40 updates .* 13 epochs"),
        (EONADE, 14, "epochs", ""),
    ],
)
def test_a_budget_that_ends_before_the_last_part_is_told(make_cell, load_bits, caplog, settings, updates, unit, said):
    """Passes are of 30 cases by 10: three updates."""
    cell = make_cell({**settings, "train.updates": updates, "train.unit": unit, "train.batch": 10})
    preflight([make_cell(), cell])
    assert re.search(said, caplog.text) if said else not caplog.text


@pytest.mark.parametrize("name", ["rbm_mnist", "nade_orders"])
def test_shipped_budgets_end_after_the_last_part_has_begun(name):
    table = load_table(name)
    for preset, cases in {"paper": 59_900, "short": 59_900, "quick": 1_400}.items():
        for cell in cells(table, load_preset(preset)):
            assert not too_short(cell.config, Batches(cases, 100, "shuffle"))


def test_data_that_the_model_cannot_read_stop_everything_before_it_runs(make_cell, load_bits):
    with pytest.raises(UserError, match=r"data=bits has no documents, which model=text_vae needs; allowed.*: sbn"):
        preflight([make_cell(), make_cell({"model": {"name": "text_vae"}})])
    with pytest.raises(UserError, match=r"train.order=lengths: for documents only, and data=bits has none"):
        preflight([make_cell({"train.order": "lengths"})])
    with pytest.raises(UserError, match=r"data=text has documents, which model=sbn cannot read; allowed.*: text_vae"):
        models.check_data("sbn", "text", Kind.TOKENS)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("model.dims", [4, 0], "model.dims"),
        ("model.init", "zeros", "model.init='zeros'"),
        ("model.init_scale", -1.0, "model.init_scale"),
        ("objective.baseline_units", 0, "objective.baseline_units=0"),
        ("objective", {"name": "iw_bound"}, "iw_bound cannot train SBN"),
        ("optim.rate", -1.0, "the rate of group 'model' is -1.0"),
        ("model.dims", [10**12, 10**12], "these settings cannot be built"),
    ],
    ids=str,
)
def test_a_cell_that_cannot_be_built_is_named_without_any_data(make_cell, monkeypatch, setting, value, words):
    def load(config, **kw):
        raise DataError("nothing there")

    monkeypatch.setattr(data, "load", load)
    good, bad = make_cell(row="good"), make_cell({setting: value}, row="bad")
    check([good])
    with pytest.raises(UserError) as caught:
        check([good, bad])
    assert str(caught.value).startswith("bad / NVIL: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checking_builds_what_is_distinct_once_and_as_wide_as_the_data(make_cell, monkeypatch):
    built, build = [], models.build
    monkeypatch.setattr(
        models, "build", lambda config, info: built.append((config["dims"], info.size)) or build(config, info)
    )
    cells = [
        make_cell(),
        make_cell({"train.updates": 9}),
        make_cell({"model.dims": [5]}),
        make_cell({"data.name": "digits"}),
    ]
    check(cells)
    assert built == [([4], 100), ([5], 100), ([4], 64)]


def test_checking_takes_no_memory(make_cell):
    with pytest.raises(
        UserError, match=r"a model of 200,002,070,000,414 parameters .*; allowed: at most 1,000,000,000"
    ):
        check([make_cell({"model.dims": [10**7, 10**7]})])  # 400 terabytes
    with torch.device("meta"):
        model = models.build({"name": "rbm_vae"}, DataInfo(np.full(3, 0.5)))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    # Functions of the mean have values: torch takes two seconds to find the shape of a logit without them.
    assert {model.mean.device.type, model.p.decoder.offset.device.type} == {"cpu"}


def test_nothing_to_check_is_known_without_torch():
    code = "import sys; from vaebench.running import tasks as runner; runner.check([]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ------------------------------------------------------------------------------------------------------ working


def test_what_somebody_finished_since_it_was_planned_is_not_run_again(make_cell, load_bits, store):
    cell = make_cell()
    put(store, cell, 0)
    put(store, cell, 1, "diverged")
    said = []
    outcomes = work(Task(cell, (0, 1, 2)), lambda event: said.append(event) if isinstance(event, Outcome) else None)
    assert [(o.seed, o.status) for o in outcomes] == [(0, "done"), (1, "diverged"), (2, "done")]
    assert (outcomes[0].value, outcomes[1].reason) == (1.0, "why")
    assert said == outcomes
    assert not (store.run_dir(cell.key, 0) / "checkpoint.safetensors").exists()


def test_a_run_is_told_with_the_measure_of_its_table_taken_as_it_asks(make_cell, load_bits, store):
    cell = replace(make_cell(), measure="iw_nll")
    done, again = work(Task(cell, (0,))), work(Task(cell, (0,)))
    value = {m["name"]: m["value"] for m in store.read_result(cell.key, 0)["measures"]}["iw_nll"]
    assert [(o.value, o.measure) for o in done + again] == [(value, "iw_nll")] * 2
    other = replace(make_cell({"eval": {**cell.config["eval"], "iw_samples": 9}}), measure="iw_nll")
    (second,) = work(Task(other, (0,)))
    assert (second.measure, second.value == value) == ("iw_nll", False)
    assert work(Task(cell, (0,)))[0].value == value, "both are in the result"
    (lacks,) = work(Task(replace(cell, measure="log_z"), (0,)))
    assert lacks.measure == "bound"
    assert lacks.value is not None


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
    cell, held, let_go = make_cell(), threading.Event(), threading.Event()

    def other():
        with store.lock(cell.key, 0):
            held.set()
            let_go.wait(20)
            put(store, cell, 0)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(20)
    outcomes = []
    waiting = threading.Thread(target=lambda: outcomes.extend(work(Task(cell, (0,), wait=True))))
    waiting.start()
    time.sleep(0.1)
    assert outcomes == []
    let_go.set()
    waiting.join(20)
    thread.join(20)
    assert [(o.status, o.value) for o in outcomes] == [("done", 1.0)]
    assert not (store.run_dir(cell.key, 0) / "checkpoint.safetensors").exists(), "the other had finished it"


def test_a_task_that_waits_can_be_stopped(make_cell, load_bits, store, monkeypatch):
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.01)
    cell, asked = make_cell(), iter([False, False, False, True])
    with store.lock(cell.key, 0):
        (outcome,) = work(Task(cell, (0,), wait=True), should_stop=lambda: next(asked))
    assert outcome.status == "busy"


def test_a_task_whose_lock_was_taken_stops_and_leaves_its_runs_to_the_other(make_cell, load_bits, store):
    cell = make_cell()
    path = store.run_dir(cell.key, 1) / ".lock"

    def should_stop():
        if path.exists():
            path.write_text("of another")
            for held in lock._heart._held:
                held.beat()
        return False

    outcomes = work(Task(cell, (0, 1)), should_stop=should_stop)
    assert [o.status for o in outcomes] == ["busy", "busy"]
    assert path.read_text() == "of another"
    path.unlink()
    assert [o.status for o in work(Task(cell, (0, 1)))] == ["done", "done"]


def test_a_task_that_is_stopped_before_it_began_touches_nothing(make_cell, load_bits, tmp_path):
    outcomes = work(Task(make_cell(), (0, 1)), should_stop=lambda: True)
    assert [(o.status, o.reason) for o in outcomes] == [("interrupted", "stopped before it began")] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_fails_its_run_alone(make_cell, load_bits, store):
    cell = make_cell()
    folder = store.run_dir(cell.key, 1)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    outcomes = {o.seed: o for o in work(Task(cell, (0, 1)))}
    assert (outcomes[0].status, outcomes[1].status) == ("done", "failed")
    assert outcomes[1].reason == f"File exists: {folder}"


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
    """Wherever the room ends: at the first note, a checkpoint, a result. What was written before stays whole."""
    real, left = os.fsync, [1000]

    def fsync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", fsync)
        work(Task(make_cell({"run.results": str(tmp_path / "whole")}), (0,)))
        written = 1000 - left[0]
        assert written > 10
        left[0] = full_after if full_after >= 0 else written - 1
        cell = make_cell()
        (outcome,) = work(Task(cell, (0,)))
    folder = Store(tmp_path / "runs").run_dir(cell.key, 0)
    assert (outcome.status, outcome.reason) == ("failed", f"No space left on device: {folder}")
    assert list(folder.glob("*.tmp")) == list(folder.glob(".*.tmp")) == []
    assert work(Task(cell, (0,)))[0].status == "done"
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_a_full_disk_leaves_finished_results_whole(make_cell, load_bits, store, state_of, monkeypatch):
    cell = make_cell()
    work(Task(cell, (0,)))
    before = state_of(store.run_dir(cell.key, 0))

    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    more = make_cell({"eval": {**cell.config["eval"], "iw_samples": 9}})
    (outcome,) = work(Task(more, (0,)))
    assert outcome.status == "failed"
    assert state_of(store.run_dir(cell.key, 0)) == before


def test_a_diverged_run_is_recorded_and_its_neighbour_trained(make_cell, load_bits, store, monkeypatch):
    real = Pack.advance

    def advance(self, *args):
        sums = real(self, *args)
        return {k: v * v.new_tensor([1.0, math.nan]) for k, v in sums.items()}

    cell = make_cell()
    with monkeypatch.context() as m:
        m.setattr(Pack, "advance", advance)
        good, bad = work(Task(cell, (0, 1)))
    assert (good.status, bad.status) == ("done", "diverged")
    result = store.read_result(cell.key, 1)
    assert (result["status"], result["measures"]) == ("diverged", [])
    assert result["reason"] == bad.reason == (
        "the training bound is not finite at update 15; there is no checkpoint yet"
    )  # fmt: skip
    assert [o.status for o in work(Task(cell, (0, 1)))] == ["done", "diverged"], "not run again"
    assert [o.status for o in work(Task(cell, (1,), force=True))] == ["done"]


def test_outcomes_name_their_task(make_cell):
    task = Task(make_cell(), (0,))
    assert Outcome(task, 0, "done").task.cell.key == run_key(task.cell.config)
