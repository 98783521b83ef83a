"""Tasks over processes: dying children, signals, the end of the time, failing fast.

Most of these tasks have nothing to train, so their children need no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from vaebench.protocol.signature import signature
from vaebench.results.stats import Measure
from vaebench.running.launchers import choose, stop
from vaebench.running.tasks import Outcome, Task
from vaebench.settings.records import RunSettings


class Fatal:
    """When it is unpickled, it kills the process that reads it."""

    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return (os._exit, (self.how,)) if self.how > 0 else (signal.raise_signal, (-self.how,))


@pytest.fixture
def finished(make_cell, store):
    """Function that makes a task whose run is done already: a child needs no torch for it.

    The tasks are told apart by their number of updates.
    """

    def make(updates, **task):
        cell = make_cell(
            {"train.updates": updates, "eval": {**make_cell().config["eval"], "iw_samples": None}}
        )
        cell.config["eval"]["bound_samples"] = 1

        stored_measures = [
            Measure(n, 1.0, "nats", signature=signature(cell.config, n, 1)).to_dict()
            for n in ("bound", "kl")
        ]

        store.write_result(cell.key, 0, {"status": "done", "measures": stored_measures})
        return Task(cell, (0,), **task)

    return make


@pytest.fixture
def fatal(make_cell):
    """Function that makes a task of two seeds that kills the child to which it is given.

    ``how`` is the exit code, or minus the number of a signal. The task has 1000 updates, plus that
    code or number.
    """

    def make(how):
        task = Task(make_cell({"train.updates": 1000 + abs(how)}), (0, 1))
        task.cell.config["run"]["threads"] = Fatal(how)
        return task

    return make


@pytest.fixture
def meanwhile():
    """Function that starts another function in a thread, once some children run.

    The other function gets their process ids.
    """
    threads = []

    def start(function, children=2):
        def call_once_they_run():
            deadline = time.monotonic() + 60
            while (
                len(running := multiprocessing.active_children()) < children
                and time.monotonic() < deadline
            ):
                time.sleep(0.01)

            function([p.pid for p in running])

        threads.append(threading.Thread(target=call_once_they_run))
        threads[-1].start()

    yield start
    for t in threads:
        t.join(60)


def statuses(outcomes):
    """Return (updates of the cell, seed, status) of every outcome, sorted."""
    return sorted((o.task.cell.config["train"]["updates"], o.seed, o.status) for o in outcomes)


def assert_left_undone(outcomes, updates):
    """Assert that only these tasks were handed over, and that they were stopped.

    The child of such a task waited for the lock of its run, or had not begun yet.
    """
    assert [(n, seed) for n, seed, _ in statuses(outcomes)] == [(n, 0) for n in updates]
    assert all(o.status in ("busy", "interrupted") for o in outcomes)


def test_a_child_that_dies_takes_nothing_with_it_but_its_task(finished, run_all, said, fatal):
    tasks = [finished(1), fatal(3), finished(2), fatal(-signal.SIGKILL), finished(3), finished(4)]
    outcomes, stopped = run_all(tasks, 2)
    assert not stopped
    assert statuses(outcomes) == [
        *((n, 0, "done") for n in (1, 2, 3, 4)),
        *((n, s, "failed") for n in (1003, 1000 + signal.SIGKILL) for s in (0, 1)),
    ]

    reason_by_updates = {
        o.task.cell.config["train"]["updates"]: o.reason for o in outcomes if o.status == "failed"
    }

    assert (
        reason_by_updates[1003]
        == "its process ended with code 3; run again to go on from the last checkpoint"
    )
    assert "was killed by signal 9 (out of memory?); run again" in reason_by_updates[1009]

    # The events tell the same as what is returned.
    told = [event for event in said if isinstance(event, Outcome)]
    assert statuses(told) == statuses(outcomes)
    assert multiprocessing.active_children() == []


def test_a_child_that_is_killed_from_outside_is_reported_and_its_sibling_completes(
    finished, run_all, store, meanwhile
):
    a = finished(1, wait=True)
    b = finished(2, wait=True)

    # Both children wait for the lock of their run, so they live until it is given back.
    locks = [store.lock(t.cell.key, 0) for t in (a, b)]
    for lock in locks:
        lock.__enter__()

    def kill_one(children):
        # Time for the children to begin to wait; after the kill, for the parent to notice it.
        time.sleep(0.5)
        os.kill(children[0], signal.SIGKILL)
        time.sleep(0.5)
        for lock in locks:
            lock.__exit__(None, None, None)

    meanwhile(kill_one)
    outcomes, _ = run_all([a, b], 2)

    assert sorted(o.status for o in outcomes) == ["done", "failed"]


def test_fail_fast_lets_what_runs_end_and_begins_nothing_new(
    finished, run_all, fatal, store, meanwhile
):
    first = finished(1, wait=True)
    later = [finished(n) for n in (2, 3, 4)]

    # The first task runs until its lock is given back, which is after the other child has died.
    lock = store.lock(first.cell.key, 0)
    lock.__enter__()

    def let_go(children):
        deadline = time.monotonic() + 60
        while len(multiprocessing.active_children()) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        lock.__exit__(None, None, None)

    meanwhile(let_go)
    outcomes, stopped = run_all([first, fatal(3), *later], 2, fail_fast=True)

    assert statuses(outcomes) == [(1, 0, "done"), (1003, 0, "failed"), (1003, 1, "failed")]
    assert not stopped


def test_a_signal_stops_the_children_and_leaves_none(finished, run_all, store, meanwhile):
    tasks = [finished(n, wait=True) for n in (1, 2, 3)]
    with store.lock(tasks[0].cell.key, 0), store.lock(tasks[1].cell.key, 0):
        meanwhile(lambda children: os.kill(os.getpid(), signal.SIGINT))
        outcomes, stopped = run_all(tasks, 2)

    assert stopped
    assert_left_undone(outcomes, [1, 2])
    assert multiprocessing.active_children() == []


def test_when_the_time_is_over_the_children_are_stopped(finished, said, store, capfd):
    tasks = [finished(n, wait=True) for n in (1, 2, 3)]
    with store.lock(tasks[0].cell.key, 0), store.lock(tasks[1].cell.key, 0):
        launched = choose(RunSettings(), 2, 3, until=time.monotonic() + 1.0).launch(
            tasks, said.append
        )

    assert (launched.stopped, launched.late) == (False, True)
    assert_left_undone(launched.outcomes, [1, 2])
    assert stop.LATE in capfd.readouterr().err
    assert multiprocessing.active_children() == []


def test_a_second_signal_ends_children_that_do_not_react(finished, run_all, store, meanwhile):
    tasks = [finished(n, wait=True) for n in (1, 2)]

    def insist(children):
        for pid in children:
            os.kill(pid, signal.SIGSTOP)  # as deaf as can be
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    with store.lock(tasks[0].cell.key, 0), store.lock(tasks[1].cell.key, 0):
        meanwhile(insist)
        with pytest.raises(KeyboardInterrupt):
            run_all(tasks, 2)

    assert multiprocessing.active_children() == []


def test_a_child_ignores_the_terminals_signals_from_its_birth(finished, run_all, store, meanwhile):
    """A Ctrl-C in a terminal reaches children too, also in the seconds when they still import."""
    tasks = [finished(n, wait=True) for n in (1, 2)]
    locks = [store.lock(t.cell.key, 0) for t in tasks]

    for lock in locks:
        lock.__enter__()

    def send_signals(children):
        # For about a second from their birth, while they import.
        for _ in range(100):
            for pid in children:
                for n in (signal.SIGINT, signal.SIGTERM):
                    os.kill(pid, n)
            time.sleep(0.01)

        for lock in locks:
            lock.__exit__(None, None, None)

    meanwhile(send_signals)
    outcomes, stopped = run_all(tasks, 2)

    assert statuses(outcomes) == [(1, 0, "done"), (2, 0, "done")]
    assert not stopped
