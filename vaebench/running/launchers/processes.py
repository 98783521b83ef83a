"""The launcher that runs several tasks at a time, in child processes.

Each child has a pipe of its own, and children share nothing. So if one is killed, even in the
middle of a message, only its task is lost.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker

from vaebench.results.status import Status
from vaebench.running.launchers.base import Launched
from vaebench.running.launchers.stop import SIGNALS, Stop
from vaebench.running.tasks import Outcome, Task, bad, work
from vaebench.work.events import Event, Say

POLL_SECONDS = 0.05
"""Seconds between two times that a child checks whether it must stop."""


class Processes:
    """The launcher of a command that runs several tasks at a time, each in a child process.

    Args:
        jobs: Number of tasks at a time.
        until: When to save the state and stop, as ``time.monotonic`` counts.
    """

    def __init__(self, jobs: int, until: float = math.inf) -> None:
        self.jobs = jobs
        self.until = until

    def launch(self, tasks: Sequence[Task], say: Say, fail_fast: bool = False) -> Launched:
        """Run the tasks; see ``base.Launcher``."""
        jobs = min(self.jobs, len(tasks))
        return _in_children(tasks, jobs, say, fail_fast, Stop(until=self.until))


def _in_children(
    tasks: Sequence[Task], jobs: int, say: Say, fail_fast: bool, stop: Stop
) -> Launched:
    outcomes: list[Outcome] = []
    waiting = list(tasks)
    workers: list[_Worker] = []
    was_told = False
    try:
        with stop.on_signals():
            while True:
                # A stop is passed on once; then, as after a failure, nothing new begins.
                if stop() and not was_told:
                    was_told = True
                    for w in workers:
                        w.end()
                if stop() or (fail_fast and bad(outcomes)):
                    waiting.clear()

                while waiting and (worker := _free(workers, jobs)):
                    worker.give(waiting.pop(0))

                busy = [worker for worker in workers if worker.task]
                if not busy:
                    break

                # The timeout lets the loop notice a stop while no child has anything to say.
                for pipe in connection.wait([worker.pipe for worker in busy], timeout=0.2):
                    worker = next(worker for worker in busy if worker.pipe is pipe)
                    task_outcomes = worker.receive(say)
                    if task_outcomes is not None:
                        outcomes += task_outcomes
                        if not worker.alive:
                            workers.remove(worker)

            # All of them are told before any is waited for, so that they end side by side.
            for w in workers:
                w.end()
            for w in workers:
                w.process.join()
    finally:
        for w in workers:  # some are left only after an error or a second Ctrl-C
            w.kill()
    return Launched(outcomes, stop.asked, late=stop.late)


def _free(workers: list[_Worker], jobs: int) -> _Worker | None:
    """Return a worker without a task.

    It is one of the existing ones, else a new one if there are fewer than ``jobs``. None if all are
    busy.
    """
    idle = next((w for w in workers if not w.task), None)
    if idle is None and len(workers) < jobs:
        idle = _Worker()
        workers.append(idle)
        idle.start()
    return idle


@dataclass(frozen=True)
class _Ended(Event):
    """The last message of a child about a task."""

    outcomes: list[Outcome]


class _Worker:
    """A child process that works on one task at a time, as the parent sees it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch and CUDA do not survive a fork
        self.pipe, self._theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self._theirs,))
        self.task: Task | None = None
        self.alive = True

    def start(self) -> None:
        # Ctrl-C in a terminal goes to the whole group, but only the parent decides what it means.
        # So the child starts with the signal blocked, for the seconds until it can ignore it.
        resource_tracker.ensure_running()  # it would unblock the signals if it started later
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._theirs.close()

    def give(self, task: Task) -> None:
        """Hand over a task. If the worker has died, the next ``receive`` shows it."""
        self.task = task
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def end(self) -> None:
        """Make it stop its task, with the state saved, or leave if it has none."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)

    def receive(self, say: Say) -> list[Outcome] | None:
        """Pass one message on to ``say``.

        Returns the outcomes of the task once it has ended, as it should or not; None before.
        """
        try:
            event = self.pipe.recv()
        except (EOFError, OSError):
            return self._died(say)
        if not isinstance(event, _Ended):
            say(event)
            return None
        self.task = None
        return event.outcomes

    def _died(self, say: Say) -> list[Outcome]:
        self.process.join(1.0)
        self.kill()
        task = self.task
        self.task = None
        self.alive = False

        # A negative code is the number of the signal that killed it. If memory runs out, the system
        # kills with SIGKILL, and the process has no chance to say so.
        code = self.process.exitcode
        how_it_ended = (
            f"was killed by signal {-code} (out of memory?)"
            if code and code < 0
            else f"ended with code {code}"
        )
        reason = f"its process {how_it_ended}; run again to go on from the last checkpoint"
        outcomes = (
            []
            if task is None
            else [Outcome(task, seed, Status.FAILED, reason) for seed in task.seeds]
        )
        for outcome in outcomes:
            say(outcome)
        return outcomes

    def kill(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _serve(pipe: connection.Connection) -> None:
    """Run in the child: work on tasks from the pipe until a None comes, or the parent dies.

    While a task runs, the parent's only message is None: save and stop.
    """
    # The parent started this process with the signals blocked. Ignore them before they are let
    # through: the parent alone decides when to stop.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def say(event: Event) -> None:
        with contextlib.suppress(OSError):  # the parent is dead, which ``poll`` tells the task
            pipe.send(event)

    with contextlib.suppress(EOFError, OSError):
        while (task := pipe.recv()) is not None:
            pipe.send(_Ended(work(task, say, _now_and_then(pipe.poll))))


def _now_and_then(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return ``ask``, called at most every POLL_SECONDS.

    The result may be called thousands of times a second.
    """
    last = -math.inf

    def ask_seldom() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < POLL_SECONDS:
            return False
        if ask():
            return True  # ``last`` stays, so the next call asks again at once
        last = now
        return False

    return ask_seldom
