"""Tasks as jobs of an engine: handed over once, found again, watched, and their outcomes collected.

The engine of these tests keeps its jobs in a list (``kit.cluster``).
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
from kit.cluster import RUNS, WAITS, Listed, launch, lines, statuses

from vaebench.errors import UserError
from vaebench.results.standing import record
from vaebench.running.launchers import elsewhere
from vaebench.running.launchers.engine import State
from vaebench.running.tasks import Task
from vaebench.work.events import Advanced, Spared


@pytest.fixture
def tasks(make_cell, load_bits):
    return [Task(make_cell({"train.updates": n}), (0, 1)) for n in (20, 25, 30, 35)]


def one_after_the_other(cluster):
    """Carry out the first job that has not ended; what the cluster does whenever it is asked."""
    live_jobs = [job for job, state in cluster.known.items() if state.live]

    if live_jobs:
        cluster.work(live_jobs[0])


def in_a_while(looks=1):
    """Do the same, but not at the first ``looks`` questions.

    With those a command finds out which jobs are in flight.
    """
    questions = []

    def each(cluster):
        questions.append(1)

        if len(questions) > looks:
            one_after_the_other(cluster)

    return each


DONE = sorted((n, seed, "done") for n in (20, 25, 30, 35) for seed in (0, 1))


def test_every_task_is_a_job_and_its_outcomes_come_back(cluster, tasks, said, store):
    engine = Listed(cluster, one_after_the_other)
    launched = launch(engine, tasks, said)
    assert statuses(launched) == DONE
    assert all(o.value is not None for o in launched.outcomes)
    assert not launched.stopped
    assert engine.closed
    assert list(map(len, engine.batches)) == [3, 1], "a batch has so many jobs at most"
    assert engine.note["jobs"] == [[[tasks[3].cell.key, 0], [tasks[3].cell.key, 1]]], (
        "before they were handed over"
    )
    assert lines(said)[0].startswith("3 jobs handed to List (batch 1); their logs are in ")

    # Whatever is made or need not be made is told, for two seeds a task.
    updates = sum(event.updates for event in said if isinstance(event, Advanced | Spared))
    assert updates == sum(t.cell.train.updates * 2 for t in tasks)
    assert list((store.root / ".jobs" / "listed").iterdir()) == [], "what was written down is gone"


def killed(cluster, tasks, **how):
    """Let a command hand tasks over, and kill it when it first asks for them; return its engine."""

    class Killed(BaseException):
        pass

    def die(cluster):
        raise Killed

    engine = Listed(cluster, die, **how)
    with pytest.raises(Killed):
        launch(engine, tasks, [])

    return engine


def test_a_command_that_was_killed_finds_its_jobs_again(cluster, tasks, said):
    assert len(killed(cluster, tasks).batches) == 2

    # The first task is finished meanwhile, so the next command does not ask for it.
    first = next(iter(cluster.known))
    cluster.work(first)
    again = Listed(cluster, in_a_while())

    launched = launch(again, tasks[1:], said)

    assert again.batches == []
    assert statuses(launched) == [entry for entry in DONE if entry[0] != 20]
    assert lines(said) == [
        "3 jobs of an earlier command in List: waited for, not handed over again"
    ]


def test_only_what_is_not_in_flight_is_handed_over(cluster, tasks, said):
    killed(cluster, [replace(tasks[0], seeds=(0,)), tasks[1]])
    again = Listed(cluster, in_a_while())

    assert statuses(launch(again, tasks[:3], said)) == [entry for entry in DONE if entry[0] != 35]

    # Of the first task only the seed that no job has; the second task is in flight whole.
    assert [(t.cell.train.updates, t.seeds) for batch in again.batches for t in batch] == [
        (20, (1,)),
        (30, (0, 1)),
    ]


def test_what_waits_and_asks_for_something_else_is_handed_over_anew(cluster, tasks, said, store):
    """What has begun goes on, whatever it asked for, and so does what asks for the same."""
    killed(cluster, tasks[:3], starts=WAITS, gpus=8, cpus=1)
    first = next(iter(cluster.known))
    cluster.known[first] = RUNS

    # It looks what is in flight, whether the cancelled jobs are gone, and what is in flight now:
    # three questions before it waits.
    again = Listed(cluster, in_a_while(looks=3), gpus=2, cpus=1)
    assert statuses(launch(again, tasks, said)) == DONE

    assert [t.cell.train.updates for batch in again.batches for t in batch] == [25, 30, 35]
    assert len(again.cancelled) == 2
    assert first not in again.cancelled
    assert lines(said)[:2] == [
        (
            "2 jobs of an earlier command had not begun and asked for run.gpus=8 (now "
            "2): handed over anew"
        ),
        "1 job of an earlier command in List: waited for, not handed over again",
    ]
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


def test_what_waits_and_asks_for_the_same_is_waited_for(cluster, tasks, said):
    killed(cluster, tasks[:3], starts=WAITS, gpus=8, sbatch=["qos=long"])
    again = Listed(cluster, in_a_while(), gpus=8, sbatch=["qos=long"])
    assert len(statuses(launch(again, tasks[:3], said))) == 6
    assert again.cancelled == again.batches == []


def test_a_job_with_other_runs_than_those_wanted_now_is_not_taken_back(cluster, tasks, said):
    killed(cluster, tasks[:1], starts=WAITS, gpus=8)

    # It waits and asks for something else, but one of its two seeds is not wanted now.
    again = Listed(cluster, in_a_while(), gpus=2)
    assert statuses(launch(again, [replace(tasks[0], seeds=(0,))], said)) == [(20, 0, "done")]
    assert again.cancelled == again.batches == []


def test_a_job_that_begins_while_it_is_taken_back_goes_on(cluster, tasks, said):
    class Late(Listed):
        """Its jobs begin before they can be cancelled."""

        def cancel(self, home, jobs):
            for job in jobs:
                self.cluster.known[job] = RUNS
            super().cancel(home, jobs)

    killed(cluster, tasks[:1], starts=WAITS, gpus=8)
    again = Late(cluster, in_a_while(looks=3), gpus=2)
    assert statuses(launch(again, tasks[:1], said)) == DONE[:2]
    assert again.batches == []
    assert lines(said) == ["1 job of an earlier command in List: waited for, not handed over again"]


def test_a_command_whose_job_another_takes_back_waits_for_the_one_in_its_place(
    cluster, tasks, said, store
):
    class Left(BaseException):
        pass

    questions = []

    def leave(cluster):
        """Let the other command go away after its third question.

        By then it has seen what is in flight, cancelled, looked again, and handed over.
        """
        questions.append(1)
        if len(questions) > 3:
            raise Left

    other_engine = Listed(cluster, leave, starts=WAITS, gpus=2)
    go_on = in_a_while()

    def hand_over_then_work(cluster):
        if other_engine.batches:
            go_on(cluster)
            return

        # Before the command sees its job again, the other command takes it back.
        with pytest.raises(Left):
            launch(other_engine, tasks[:1], [])

    engine = Listed(cluster, hand_over_then_work, starts=WAITS, gpus=8)
    assert statuses(launch(engine, tasks[:1], said)) == DONE[:2]

    assert len(engine.batches) == len(other_engine.batches) == len(other_engine.cancelled) == 1
    assert engine.cancelled == []
    assert lines(said)[1:] == [
        "1 job of an earlier command in List: waited for, not handed over again"
    ]
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


def test_a_note_of_an_earlier_version_says_nothing_of_what_was_asked_for(
    cluster, tasks, said, store
):
    killed(cluster, tasks[:1], starts=WAITS, gpus=8)

    # Earlier versions wrote the list of jobs alone.
    (note,) = store.root.glob(".jobs/listed/*/batch.json")
    note.write_text(json.dumps(json.loads(note.read_text())["jobs"]))

    again = Listed(cluster, in_a_while(), gpus=2)

    assert statuses(launch(again, tasks[:1], said)) == DONE[:2]
    assert again.cancelled == again.batches == []


def test_jobs_that_ended_with_their_command_are_handed_over_anew(cluster, tasks, said, store):
    killed(cluster, tasks[:2])
    cluster.known.clear()
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, tasks[:2], said)) == DONE[:4]
    assert len(again.batches) == 1
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


def test_a_job_in_flight_with_another_evaluation_is_waited_for_and_then_evaluated(
    cluster, tasks, said, store
):
    killed(cluster, tasks[:1])
    cell = tasks[0].cell
    other_evaluation = replace(
        cell, config={**cell.config, "eval": {**cell.config["eval"], "bound_samples": 2}}
    )
    again = Listed(cluster, in_a_while())

    assert statuses(launch(again, [Task(other_evaluation, (0, 1))], said)) == DONE[:2]
    # Both evaluations are handed over at once, each as a job of its own.
    assert [[task.seeds for task in batch] for batch in again.batches] == [[(0,), (1,)]]
    assert all(
        record(store, c, s).status == "done" for c in (cell, other_evaluation) for s in (0, 1)
    )


def test_a_job_in_flight_that_only_trains_is_waited_for_and_then_evaluated(
    cluster, tasks, said, store
):
    killed(cluster, [replace(tasks[0], evaluate=False)])
    again = Listed(cluster, in_a_while())
    assert statuses(launch(again, tasks[:1], said)) == DONE[:2]
    assert len(again.batches) == 1, "the evaluation"


def test_a_job_in_flight_is_enough_for_a_command_that_only_trains(cluster, tasks, said):
    training = [replace(tasks[0], evaluate=False)]
    killed(cluster, training)
    again = Listed(cluster, in_a_while())

    assert statuses(launch(again, training, said)) == [(20, 0, "trained"), (20, 1, "trained")]
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
    """Return what a cluster does when it is asked: the first time it interrupts the command."""
    sent = []

    def each(cluster):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    return each


def test_ctrl_c_leaves_the_jobs_and_says_so(cluster, tasks, said, capfd):
    launched = launch(Listed(cluster, ctrl_c()), tasks[:2], said)
    assert (launched.outcomes, launched.stopped) == ([], True)
    assert launched.line == (
        "no longer watching: 2 jobs go on in List; the same command watches "
        "again, so and so ends them"
    )
    assert all(state.live for state in cluster.known.values())
    assert capfd.readouterr().err.strip() == ""


def test_ctrl_c_stops_the_jobs_of_an_engine_that_ends_with_the_command(cluster, tasks, said, store):
    launched = launch(Listed(cluster, ctrl_c(), outlives=False), tasks[:1], said)
    assert statuses(launched) == [(20, 0, "interrupted"), (20, 1, "interrupted")]
    assert launched.line.startswith("interrupted; the state is saved")


def test_ctrl_c_begins_nothing_that_waits_in_an_engine_that_ends_with_the_command(
    cluster, tasks, said, monkeypatch
):
    # A job that is gone is not waited for: with this wait the test would take too long.
    monkeypatch.setattr(elsewhere, "GONE_SECONDS", 1000.0)
    interrupt = ctrl_c()

    def second_waits(cluster):
        interrupt(cluster)
        second_job = list(cluster.known)[1]

        if cluster.known[second_job].live:
            cluster.known[second_job] = WAITS

    engine = Listed(cluster, second_waits, outlives=False)
    launched = launch(engine, tasks[:2], said)

    assert statuses(launched) == [(20, 0, "interrupted"), (20, 1, "interrupted")]
    assert [job.number for job in engine.cancelled] == [1]


def test_an_engine_that_does_not_answer_is_waited_for(cluster, tasks, said):
    questions = []

    class Silent(Listed):
        def states(self, home, batches):
            questions.append(1)

            return super().states(home, batches) if len(questions) > 3 else None

    assert statuses(launch(Silent(cluster, one_after_the_other), tasks[:1], said)) == DONE[:2]


def test_what_is_refused_leaves_nothing_written_down(cluster, tasks, said, store):
    class Refusing(Listed):
        def submit(self, folder, batch, tasks):
            raise UserError("no such partition")

    with pytest.raises(UserError, match="no such partition"):
        launch(Refusing(cluster), tasks, said)
    assert list((store.root / ".jobs" / "listed").iterdir()) == []


@pytest.mark.parametrize("note", ["", '{"jobs": [[["key', "[]"])
def test_a_job_whose_note_is_damaged_does_not_stop_a_command(note, cluster, tasks, said, store):
    """Which runs it has is not known. They are handed over again, and their locks do the rest."""
    first_command = killed(cluster, tasks[:1])
    (path,) = (store.root / ".jobs" / "listed").glob("*/batch.json")
    path.write_text(note)

    # It asks for something else than the first, so it looks at each waiting job.
    second_command = Listed(cluster, in_a_while(), gpus=2)
    launched = launch(second_command, tasks[:1], said)

    assert statuses(launched) == DONE[:2]
    assert len(first_command.batches) == len(second_command.batches) == 1
    assert second_command.cancelled == []


def test_the_files_of_a_batch_stay_while_any_of_its_jobs_is_live(cluster, tasks, said, store):
    """A queued job reads its task from them, and the next command finds it by them."""
    killed(cluster, tasks[:2])
    first_job, second_job = cluster.known

    looks = []

    def work_on_the_first(cluster):
        looks.append(1)
        # At its first look the command must find the job in flight.
        if len(looks) > 1 and cluster.known[first_job].live:
            cluster.work(first_job)

    # This command wants the run of the first job alone.
    launched = launch(Listed(cluster, work_on_the_first), tasks[:1], said)
    assert statuses(launched) == DONE[:2]
    assert cluster.known[second_job].live
    (batch,) = (store.root / ".jobs" / "listed").iterdir()
    assert batch.name == second_job.batch

    # The second job is waited for, not handed over once more. Then nothing is left.
    last_command = Listed(cluster, in_a_while())
    assert statuses(launch(last_command, tasks[1:2], said)) == DONE[2:4]
    assert last_command.batches == []
    assert list((store.root / ".jobs" / "listed").iterdir()) == []
