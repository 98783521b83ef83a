"""Tasks as jobs of an engine, here one that keeps them in a list: handed over once, found again, watched, collected."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vaebench.errors import UserError
from vaebench.results.status import record
from vaebench.running import tasks as runner
from vaebench.running.launchers import carried, choose, elsewhere, ray
from vaebench.running.launchers.elsewhere import Elsewhere
from vaebench.running.launchers.engine import Job, State
from vaebench.running.launchers.slurm import Slurm
from vaebench.running.tasks import Task
from vaebench.settings.records import RunSettings
from vaebench.work.events import Advanced, Said, Spared

RUNS = State("RUNNING", True, True)
WAITS = State("PENDING", True, False, "Resources")


class Cluster:
    """What goes on when a command ends: its jobs, by (batch, number) the folder and task; where they stand."""

    def __init__(self):
        self.jobs = {}
        self.known = {}

    def work(self, job, should_stop=lambda: False):
        """Carry a job out."""
        done = carried.carry_out(*self.jobs[job], should_stop)
        if done:
            self.known[job] = State("COMPLETED", False, False)
        return done


class Listed:
    """An engine on a cluster. ``each`` is called with a cluster whenever it is asked."""

    name = "listed"
    title = "List"
    most = 3

    def __init__(self, cluster, each=lambda cluster: None, outlives=True):
        self.cluster, self.each, self.outlives = cluster, each, outlives
        self.batches, self.cancelled, self.closed = [], [], False

    def submit(self, folder, batch, tasks):
        self.note = json.loads((folder / "batch.json").read_text())
        self.batches.append(list(tasks))
        for number, task in enumerate(tasks):
            job = Job(batch, number)
            self.cluster.jobs[job] = (folder, number, task)
            self.cluster.known[job] = RUNS
        return f"batch {len(self.batches)}"

    def states(self, home, batches):
        self.each(self.cluster)
        return {job: state for job, state in self.cluster.known.items() if job.batch in batches}

    def cancel(self, home, jobs):
        self.cancelled += jobs
        for job in jobs:
            if not self.cluster.known[job].running:
                self.cluster.known[job] = State("CANCELLED", False, False)

    def cancelling(self, jobs):
        return "so and so ends them"

    def stop(self, jobs):
        for job in filter(lambda job: self.cluster.known[job].live, jobs):
            self.cluster.work(job, should_stop=lambda: True)
            self.cluster.known[job] = State("ENDED", False, False)

    def log(self, folder, number):
        return folder / f"{number}.log"

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name in ("POLL_SECONDS", "ASK_SECONDS", "GONE_SECONDS"):
        monkeypatch.setattr(elsewhere, name, 0.0)
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.01)


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def tasks(make_cell, load_bits):
    return [Task(make_cell({"train.updates": n}), (0, 1)) for n in (20, 25, 30, 35)]


@pytest.fixture
def said():
    return []


def one_after_the_other(cluster):
    """Carry out the first job that has not ended."""
    left = [job for job, state in cluster.known.items() if state.live]
    if left:
        cluster.work(left[0])


def in_a_while():
    """The same, from the second time on: the first time a command looks what is in flight."""
    asked = []

    def each(cluster):
        asked.append(1)
        if len(asked) > 1:
            one_after_the_other(cluster)

    return each


def lines(said):
    return [event.line for event in said if isinstance(event, Said)]


def launch(engine, tasks, said, **how):
    return Elsewhere(engine).launch(tasks, said.append, **how)


def statuses(launched):
    return sorted((o.task.cell.train.updates, o.seed, str(o.status)) for o in launched.outcomes)


DONE = sorted((n, seed, "done") for n in (20, 25, 30, 35) for seed in (0, 1))


def test_every_task_is_a_job_and_its_outcomes_come_back(cluster, tasks, said, store):
    engine = Listed(cluster, one_after_the_other)
    launched = launch(engine, tasks, said)
    assert statuses(launched) == DONE
    assert all(o.value is not None for o in launched.outcomes)
    assert not launched.stopped
    assert engine.closed
    assert list(map(len, engine.batches)) == [3, 1], "a batch has so many jobs at most"
    assert engine.note == [[[tasks[3].cell.key, 0], [tasks[3].cell.key, 1]]], "before they were handed over"
    assert lines(said)[0].startswith("3 jobs handed to List (batch 1); their logs are in ")
    updates = sum(event.updates for event in said if isinstance(event, Advanced | Spared))
    assert updates == sum(t.cell.train.updates * 2 for t in tasks)
    assert list((store.root / ".jobs" / "listed").iterdir()) == [], "what was written down is gone"


def killed(cluster, tasks, monkeypatch, at=1):
    """A command that hands tasks over and is killed when it asks for the ``at``-th time."""
    asked = []

    class Killed(BaseException):
        pass

    def die(cluster):
        asked.append(1)
        if len(asked) >= at:
            raise Killed

    engine = Listed(cluster, die)
    with pytest.raises(Killed):
        launch(engine, tasks, [])
    return engine


def test_a_command_that_was_killed_finds_its_jobs_again(cluster, tasks, said, monkeypatch):
    assert len(killed(cluster, tasks, monkeypatch).batches) == 2
    first = next(iter(cluster.known))
    cluster.work(first)
    again = Listed(cluster, in_a_while())
    launched = launch(again, tasks[1:], said)  # the first task is finished: a command does not ask for it any more
    assert again.batches == []
    assert statuses(launched) == [entry for entry in DONE if entry[0] != 20]
    assert lines(said) == ["3 jobs of an earlier command in List: waited for, not handed over again"]


def test_only_what_is_not_in_flight_is_handed_over(cluster, tasks, said, monkeypatch):
    killed(cluster, [replace(tasks[0], seeds=(0,)), tasks[1]], monkeypatch)
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, tasks[:3], said)) == [entry for entry in DONE if entry[0] != 35]
    assert [(t.cell.train.updates, t.seeds) for batch in again.batches for t in batch] == [(20, (1,)), (30, (0, 1))]


def test_jobs_that_ended_with_their_command_are_handed_over_anew(cluster, tasks, said, monkeypatch, store):
    killed(cluster, tasks[:2], monkeypatch)
    cluster.known.clear()
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, tasks[:2], said)) == DONE[:4]
    assert len(again.batches) == 1
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


def test_a_job_in_flight_with_another_evaluation_is_waited_for_and_then_evaluated(
    cluster, tasks, said, monkeypatch, store
):
    killed(cluster, tasks[:1], monkeypatch)
    cell = tasks[0].cell
    other = replace(cell, config={**cell.config, "eval": {**cell.config["eval"], "bound_samples": 2}})
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, [Task(other, (0, 1))], said)) == DONE[:2]
    assert len(again.batches) == 1 or [len(b) for b in again.batches] == [1, 1]
    assert all(record(store, c, s).status == "done" for c in (cell, other) for s in (0, 1))


def test_a_job_in_flight_that_only_trains_is_waited_for_and_then_evaluated(cluster, tasks, said, monkeypatch, store):
    killed(cluster, [replace(tasks[0], evaluate=False)], monkeypatch)
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, tasks[:1], said)) == DONE[:2]
    assert len(again.batches) == 1, "the evaluation"


def test_a_job_in_flight_is_enough_for_a_command_that_only_trains(cluster, tasks, said, monkeypatch):
    only = [replace(tasks[0], evaluate=False)]
    killed(cluster, only, monkeypatch)
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, only, said)) == [(20, 0, "trained"), (20, 1, "trained")]
    assert again.batches == []


def test_a_job_that_ends_without_a_result_is_told_with_its_log(cluster, tasks, said):
    def lose(cluster):
        for job in cluster.known:
            cluster.known[job] = State("NODE_FAIL", False, False, "None of it is left")

    launched = launch(Listed(cluster, lose), tasks[:1], said)
    assert statuses(launched) == [(20, 0, "failed"), (20, 1, "failed")]
    reason = launched.outcomes[0].reason
    assert "ended without a result: NODE_FAIL (None of it is left); run again to go on" in reason
    assert reason.endswith("/0.log")


def test_a_run_that_fails_names_its_log(cluster, tasks, said, load_bits):
    load_bits(None)
    launched = launch(Listed(cluster, one_after_the_other), tasks[:1], said)
    assert statuses(launched) == [(20, 0, "failed"), (20, 1, "failed")]
    assert "; log: " in launched.outcomes[0].reason


def test_after_a_failure_nothing_waiting_is_begun_if_so_asked(cluster, tasks, said):
    def first_fails(cluster):
        for number, job in enumerate(cluster.known):
            if cluster.known[job].live:
                cluster.known[job] = State("FAILED", False, False) if number == 0 else WAITS

    engine = Listed(cluster, first_fails)
    launched = launch(engine, tasks, said, fail_fast=True)
    assert statuses(launched) == [(20, 0, "failed"), (20, 1, "failed")]
    assert len(engine.cancelled) == 3


def ctrl_c():
    asked = []

    def each(cluster):
        if not asked:
            asked.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    return each


def test_ctrl_c_leaves_the_jobs_and_says_so(cluster, tasks, said, capfd):
    launched = launch(Listed(cluster, ctrl_c()), tasks[:2], said)
    assert (launched.outcomes, launched.stopped) == ([], True)
    assert launched.line == (
        "no longer watching: 2 jobs go on in List; the same command watches again, so and so ends them"
    )
    assert all(state.live for state in cluster.known.values())
    assert capfd.readouterr().err.strip() == ""


def test_ctrl_c_stops_the_jobs_of_an_engine_that_ends_with_the_command(cluster, tasks, said, store):
    launched = launch(Listed(cluster, ctrl_c(), outlives=False), tasks[:1], said)
    assert statuses(launched) == [(20, 0, "interrupted"), (20, 1, "interrupted")]
    assert launched.line.startswith("interrupted; the state is saved")


def test_ctrl_c_begins_nothing_that_waits_in_an_engine_that_ends_with_the_command(cluster, tasks, said, monkeypatch):
    monkeypatch.setattr(elsewhere, "GONE_SECONDS", 1000.0)  # nor is a job waited for that is gone
    stop = ctrl_c()

    def second_waits(cluster):
        stop(cluster)
        second = list(cluster.known)[1]
        if cluster.known[second].live:
            cluster.known[second] = WAITS

    engine = Listed(cluster, second_waits, outlives=False)
    launched = launch(engine, tasks[:2], said)
    assert statuses(launched) == [(20, 0, "interrupted"), (20, 1, "interrupted")]
    assert [job.number for job in engine.cancelled] == [1]


def test_an_engine_that_does_not_answer_is_waited_for(cluster, tasks, said):
    asked = []

    class Silent(Listed):
        def states(self, home, batches):
            asked.append(1)
            return super().states(home, batches) if len(asked) > 3 else None

    assert statuses(launch(Silent(cluster, one_after_the_other), tasks[:1], said)) == DONE[:2]


def test_what_is_refused_leaves_nothing_written_down(cluster, tasks, said, store):
    class Refusing(Listed):
        def submit(self, folder, batch, tasks):
            raise UserError("no such partition")

    with pytest.raises(UserError, match="no such partition"):
        launch(Refusing(cluster), tasks, said)
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


# -------------------------------------------------------------------------------------------------------- one job


def stops(turns):
    """Whether to stop, of the next turn: the first two are stopped when they ask for the fourth time."""
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 3

    return stop if len(turns) < 2 else lambda: False


def test_a_job_that_is_queued_again_goes_on_bit_for_bit(make_cell, load_bits, tmp_path, states_of):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    runner.work(Task(whole, (0, 1)))
    task = Task(make_cell(), (0, 1), force=True)
    turns = []
    while not carried.carry_out(tmp_path, 0, task, stops(turns)):  # force throws away in the first turn only
        assert carried.read_outcomes(tmp_path, 0, task) is None
        turns.append(record(runner.Store(tmp_path / "runs"), task.cell, 0).status)
    assert turns == ["partial", "partial"]
    assert [str(o.status) for o in carried.read_outcomes(tmp_path, 0, task)] == ["done", "done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_progress_is_counted_anew_in_every_turn(make_cell, load_bits, tmp_path, said, cluster):
    cell = make_cell()
    turns = []

    def in_turns(cluster):
        (job,) = cluster.known
        if cluster.known[job].live:
            turns.append(cluster.work(job, stops(turns)))

    launch(Listed(cluster, in_turns), [Task(cell, (0,))], said)
    assert turns == [False, False, True]
    advanced, spared = (sum(e.updates for e in said if isinstance(e, kind)) for kind in (Advanced, Spared))
    assert advanced + spared == cell.train.updates
    assert {e.updates > 0 for e in said if isinstance(e, Advanced) and e.updates} == {True, False}, "taken back"


# -------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_an_engine_that_is_not_installed_is_one_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"pip install 'vaebench\[{name}\]'"):
        choose(RunSettings(launcher=name), 1, 1)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_of_ray_at_which_nobody_listens_is_known_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        ray._knock(address)
    with pytest.raises(OSError, match="refused"):
        ray._knock(address)


@pytest.mark.parametrize(
    ("address", "connects", "outlives"),
    [
        ("local", ["local"], False),
        (None, ["auto", "local"], False),
        ("10.0.0.1:6379", ["10.0.0.1:6379"], True),
    ],
)
def test_a_cluster_of_its_own_ends_with_the_command(address, connects, outlives, monkeypatch):
    connected = []

    def init(address, **how):
        connected.append(address)
        if address == "auto":
            raise ConnectionError("none here")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    monkeypatch.setattr(ray, "_knock", lambda address: None)
    engine = ray.Ray(RunSettings(launcher="ray", address=address))
    assert engine.outlives is outlives
    assert connected == connects


@pytest.mark.parametrize(
    ("asked", "lack"),
    [
        ({}, ""),
        ({"cpus": 8, "gpus": 1, "memory": 16}, ""),
        ({"cpus": 9}, "no node has 9 CPUs"),
        ({"gpus": 2}, "no node has 1 CPU and 2 GPUs"),
        ({"cpus": 16, "gpus": 1}, "no node has 16 CPUs and 1 GPU"),  # of one node
        ({"memory": 17}, "no node has 1 CPU and 17 GiB"),
    ],
)
def test_what_no_node_of_ray_has_is_said(asked, lack, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    engine = ray.Ray(RunSettings(launcher="ray", threads=1, **asked))
    there = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0, "memory": 16.0 * ray.GIB}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 512.0 * ray.GIB}},
        {"Alive": True, "Resources": {"CPU": 8.0, "memory": 16.0 * ray.GIB}},
    ]
    engine._ray = SimpleNamespace(nodes=lambda: there)
    assert engine._lack() == lack

    engine._own = True
    if lack:
        with pytest.raises(UserError, match=f"^Ray: {lack} on this machine"):
            engine.submit(Path(), "batch", [])


def test_what_slurm_is_asked_for(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    settings = RunSettings(
        launcher="slurm", partition="gpu", time_limit=90, grace=60, cpus=4, gpus=1, memory=8, parallel=5,
        sbatch=["account=ml", "exclusive"],
    )  # fmt: skip
    from submitit.slurm.slurm import _make_sbatch_string

    text = _make_sbatch_string("x", tmp_path, map_count=20, **Slurm(settings)._parameters("b", 20))
    for line in (
        *("job-name=vaebench-b", "partition=gpu", "time=90", "signal=USR2@60", "cpus-per-task=4", "gpus-per-node=1"),
        *("mem=8GB", "array=0-19%5", "account=ml", "exclusive", "requeue"),
    ):
        assert f"#SBATCH --{line}\n" in text
    with pytest.raises(UserError, match=r"run.grace=60: allowed: fewer seconds than the 1 minutes"):
        Slurm(replace(settings, time_limit=1))
