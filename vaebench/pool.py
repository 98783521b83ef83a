"""Tasks over processes: one after the other in this one, or several at a time in children, with one stop switch."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from vaebench.runner import Outcome, Say, Task, work


class Stop:
    """Set by the first Ctrl-C or SIGTERM: everybody saves and ends. A second one ends this process at once."""

    def __init__(self, event: Any = None) -> None:
        self.event = event or threading.Event()

    def __call__(self) -> bool:
        return self.event.is_set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the block runs."""

        def first(number: int, frame: Any) -> None:
            if self.event.is_set():
                raise KeyboardInterrupt
            self.event.set()

        old = {n: signal.signal(n, first) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for n, handler in old.items():
                signal.signal(n, handler)


def run_all(tasks: Sequence[Task], jobs: int, say: Say, fail_fast: bool = False) -> tuple[list[Outcome], bool]:
    """Run the tasks, ``jobs`` at a time. Returns the outcomes and whether the user asked to stop.

    ``fail_fast``: after the first failure no further task begins.
    """
    if jobs <= 1 or len(tasks) <= 1:
        return _here(tasks, say, fail_fast)
    return _in_children(tasks, min(jobs, len(tasks)), say, fail_fast)


def _bad(outcomes: Sequence[Outcome]) -> bool:
    return any(o.status in ("failed", "diverged") for o in outcomes)


def _here(tasks: Sequence[Task], say: Say, fail_fast: bool) -> tuple[list[Outcome], bool]:
    stop, outcomes = Stop(), []
    with stop.on_signals():
        for task in tasks:
            if stop() or (fail_fast and _bad(outcomes)):
                break
            outcomes += work(task, say, stop)
    return outcomes, stop()


_child: dict[str, Any] = {}


def _start_child(messages: Any, event: Any) -> None:
    # The parent alone decides what a Ctrl-C means; the terminal sends it to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _child.update(messages=messages, stop=event)


def _work_in_child(task: Task) -> list[Outcome]:
    return work(task, lambda kind, value: _child["messages"].put((kind, value)), _child["stop"].is_set)


def _in_children(tasks: Sequence[Task], jobs: int, say: Say, fail_fast: bool) -> tuple[list[Outcome], bool]:
    context = multiprocessing.get_context("spawn")  # torch and CUDA do not survive a fork
    messages, event = context.Queue(), context.Event()
    stop, outcomes, waiting = Stop(event), [], list(tasks)
    running: dict[Any, Task] = {}
    pool = ProcessPoolExecutor(jobs, context, _start_child, (messages, event))
    try:
        with stop.on_signals():
            while waiting or running:
                while waiting and len(running) < jobs and not stop() and not (fail_fast and _bad(outcomes)):
                    task = waiting.pop(0)
                    running[pool.submit(_work_in_child, task)] = task
                if not running:
                    break
                done, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                _drain(messages, say)
                for future in done:
                    task = running.pop(future)
                    try:
                        outcomes += future.result()
                    except BrokenProcessPool:
                        outcomes += _died(task, say)
                        pool.shutdown(wait=False)
                        # Its siblings died with the pool; they resume from their checkpoints in a new one.
                        waiting[:0] = [running.pop(f) for f in list(running)]
                        pool = ProcessPoolExecutor(jobs, context, _start_child, (messages, event))
                        break
        _drain(messages, say)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return outcomes, stop()


def _died(task: Task, say: Say) -> list[Outcome]:
    reason = "its process was killed (out of memory?); run again to go on from the last checkpoint"
    outcomes = [Outcome(task, s, "failed", reason) for s in task.seeds]
    for o in outcomes:
        say("outcome", o)
    return outcomes


def _drain(messages: Any, say: Callable[[str, Any], None]) -> None:
    while True:
        try:
            say(*messages.get_nowait())
        except queue.Empty:
            return
