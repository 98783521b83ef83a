"""The launcher for engines (Slurm, Ray), which run tasks as jobs elsewhere.

It hands jobs over, watches them and collects the outcomes. What is handed over is noted first
(``launchers/batches.py``), so a command can be killed at any moment: the next one finds the jobs
again. Those that the engine still knows are waited for, and only the others are handed over anew.
Whatever goes wrong, the locks of the runs make sure that none is trained twice at the same time.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vaebench.errors import UserError
from vaebench.formatting import counted
from vaebench.results.standing import record
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running.launchers import carried
from vaebench.running.launchers.base import Launched
from vaebench.running.launchers.batches import Batches
from vaebench.running.launchers.engine import Engine, Job, State
from vaebench.running.launchers.stop import STOPPING, Stop
from vaebench.running.tasks import Outcome, Task, bad, known_outcome
from vaebench.work.events import Advanced, Said, Say, Spared, Working

POLL_SECONDS = 0.5
"""Seconds between two looks at the files of jobs."""

ASK_SECONDS = 5.0
"""Seconds between two questions to the engine about its jobs."""

GONE_SECONDS = 20.0
"""How long a job may be unknown to the engine, or at its end, without outcomes. Files may be late,
and a job that is queued again is between two states for a moment."""

FEW = 16
"""Up to so many running jobs are shown one by one; of more only their number is shown."""


@dataclass
class _Watched:
    """A job that the command waits for.

    Attributes:
        job: The job.
        folder: Folder of its batch.
        tasks: What the command wants of it: its own task, or those whose runs the job of an
            earlier command has.
        adopted: Whether an earlier command has handed it over.
        dropped: Whether it was taken out of the queue.
        shown: The progress that was shown last.
        state: Its state as the engine last said; None before.
        gone: Since when it has had no live state.
    """

    job: Job
    folder: Path
    tasks: list[Task]
    adopted: bool = False
    dropped: bool = False
    shown: carried.Progress = field(default_factory=carried.Progress)
    state: State | None = None
    gone: float | None = None


class Elsewhere:
    """The launcher of an engine.

    Args:
        engine: The engine, which runs the jobs.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ask_from = 0.0

    def launch(self, tasks: Sequence[Task], say: Say, fail_fast: bool = False) -> Launched:
        """Run the tasks; see ``base.Launcher``."""
        engine = self.engine
        stop = Stop("" if engine.outlives else STOPPING)
        store = Store(tasks[0].cell.run.results)
        batches = Batches(store.root, engine.name)
        outcomes: list[Outcome] = []
        try:
            with stop.on_signals():
                watched = self._hand_over(batches, tasks, say, stop)
                told = False
                while watched:
                    # A stop leaves jobs alone if they go on without the command; others it ends.
                    if stop() and engine.outlives:
                        return Launched(outcomes, True, self._farewell(watched))
                    if stop() and not told:
                        told = True
                        self._drop(batches.home, watched)
                        engine.stop([w.job for w in watched])

                    more, again, watched = self._look(store, batches, watched, say, stop())
                    outcomes += more
                    if fail_fast and bad(outcomes):
                        self._drop(batches.home, watched)
                    elif again and not stop():
                        watched += self._hand_over(batches, again, say, stop, take_back=False)
                    if watched:
                        time.sleep(POLL_SECONDS)
        finally:
            engine.close()
        return Launched(outcomes, stop())

    # --------------------------------------------------------------------------------- handing over

    def _hand_over(
        self, batches: Batches, tasks: Sequence[Task], say: Say, stop: Stop, take_back: bool = True
    ) -> list[_Watched]:
        """Find the existing jobs for these tasks, and hand over the runs that no job has.

        Args:
            batches: The batches of the engine.
            tasks: What is wanted.
            say: Called with what is done.
            stop: Whether to end.
            take_back: Whether waiting jobs that ask for something else are handed over anew. A
                command does so once. Otherwise two commands that ask for different things would
                take the jobs from each other for ever.

        Returns:
            The jobs to watch.
        """
        with batches.one_at_a_time(stop):
            if stop():
                return []

            flying, runs = self._in_flight(batches)
            if take_back and self._take_back(batches, flying, tasks, say):
                flying, runs = self._in_flight(batches)

            # Runs that a job already has are waited for; the others make new jobs.
            adopted: dict[Job, _Watched] = {}
            rest: list[Task] = []
            for task in tasks:
                free = []
                for seed in task.seeds:
                    job = runs.get((task.cell.key, seed))
                    if job is None:
                        free.append(seed)
                        continue
                    watched = adopted.setdefault(
                        job, _Watched(job, batches.folder(job.batch), [], adopted=True)
                    )
                    watched.state = flying[job]
                    watched.tasks.append(replace(task, seeds=(seed,), force=False))
                if free:
                    rest.append(replace(task, seeds=tuple(free)))

            if adopted:
                some = counted(len(adopted), "job")
                say(
                    Said(
                        f"{some} of an earlier command in {self.engine.title}: waited for, "
                        "not handed over again"
                    )
                )

            return [*adopted.values(), *self._submit(batches, rest, say)]

    def _in_flight(
        self, batches: Batches
    ) -> tuple[Mapping[Job, State], dict[tuple[str, int], Job]]:
        """Return the jobs that the engine still has, and (key, seed) -> the job with that run.

        Notes of batches that have ended are removed.
        """
        notes = batches.noted()
        if not notes:
            return {}, {}

        deadline = time.monotonic() + 60
        while (states := self.engine.states(batches.home, list(notes))) is None:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self.engine.title} does not say where jobs of an earlier "
                    "command stand; try later"
                )
            time.sleep(1)

        live = {job: state for job, state in states.items() if state.live}
        for batch in notes:
            if not any(job.batch == batch for job in live):
                batches.forget(batch)
        return live, {run: job for job in live for run in notes[job.batch].jobs[job.number]}

    def _take_back(
        self, batches: Batches, flying: Mapping[Job, State], tasks: Sequence[Task], say: Say
    ) -> list[Job]:
        """Take jobs out of the queue that would ask for something else now.

        Only jobs that have not begun are taken, and only if all their runs are wanted now. A job
        that begins at this moment goes on.

        Returns:
            The jobs that were taken.
        """
        asks = self.engine.asks()
        wanted = {(task.cell.key, seed) for task in tasks for seed in task.seeds}
        notes = batches.noted()
        others: dict[Job, Mapping[str, Any]] = {}
        for job, state in flying.items():
            before = notes[job.batch].asks
            all_wanted = wanted.issuperset(notes[job.batch].jobs[job.number])
            if not state.running and all_wanted and before is not None and before != asks:
                others[job] = before
        if not others:
            return []

        self.engine.cancel(batches.home, list(others))
        live = self._once_settled(batches.home, list(others))
        gone = [job for job in others if job not in live]
        if gone:
            before = others[gone[0]]
            unlike = {name: now for name, now in asks.items() if before.get(name) != now}
            changes = ", ".join(
                f"run.{name}={before.get(name)} (now {now})" for name, now in unlike.items()
            )
            some = counted(len(gone), "job")
            say(
                Said(
                    f"{some} of an earlier command had not begun and asked for "
                    f"{changes}: handed over anew"
                )
            )
        return gone

    def _once_settled(self, home: Path, jobs: Sequence[Job]) -> Collection[Job]:
        """Wait until each of some cancelled jobs is gone or runs; return those that are left.

        If the engine does not answer, all are returned.
        """
        deadline = time.monotonic() + GONE_SECONDS
        live: Collection[Job] = jobs
        while True:
            states = self.engine.states(home, sorted({job.batch for job in jobs}))
            if states is not None:
                live = [job for job in jobs if job in states and states[job].live]
            settled = states is not None and all(states[job].running for job in live)
            if settled or time.monotonic() > deadline:
                return live
            time.sleep(POLL_SECONDS)

    def _submit(self, batches: Batches, tasks: Sequence[Task], say: Say) -> list[_Watched]:
        watched = []
        for first in range(0, len(tasks), self.engine.most):
            some = tasks[first : first + self.engine.most]
            batch = batches.begin(some, self.engine.asks())
            folder = batches.folder(batch)
            try:
                called = self.engine.submit(folder, batch, some)
            except Exception:
                batches.forget(batch)
                raise
            jobs = counted(len(some), "job")
            say(
                Said(f"{jobs} handed to {self.engine.title} ({called}); their logs are in {folder}")
            )
            watched += [_Watched(Job(batch, i), folder, [task]) for i, task in enumerate(some)]
        return watched

    # ------------------------------------------------------------------------------------- watching

    def _look(
        self, store: Store, batches: Batches, watched: list[_Watched], say: Say, stopping: bool
    ) -> tuple[list[Outcome], list[Task], list[_Watched]]:
        """Look at all jobs once.

        Returns:
            The outcomes of those that have ended, tasks to be handed over again, and the jobs that
            are left.
        """
        self._ask(batches.home, watched, say)
        outcomes: list[Outcome] = []
        again: list[Task] = []
        left: list[_Watched] = []

        running = sum(w.state is not None and w.state.running for w in watched)
        for w in watched:
            if w.state is not None and w.state.live and not w.state.running:
                left.append(w)
                continue
            self._tell(w, say, each=running <= FEW)
            found = self._ended(store, batches, w, stopping)
            if found is None:
                left.append(w)
                continue
            for outcome in found:
                if isinstance(outcome, Task):
                    again.append(outcome)
                    continue
                outcomes.append(outcome)
                say(outcome)

        for batch in {w.job.batch for w in watched} - {w.job.batch for w in left}:
            with contextlib.suppress(OSError):
                batches.forget(batch)
        return outcomes, again, left

    def _ask(self, home: Path, watched: list[_Watched], say: Say) -> None:
        """Ask the engine for the jobs' states, now and then, and say how many wait."""
        now = time.monotonic()
        if now < self._ask_from:
            return
        states = self.engine.states(home, sorted({w.job.batch for w in watched}))
        took = time.monotonic() - now
        self._ask_from = now + max(ASK_SECONDS, 10 * took)
        if states is None:
            say(Working(self.engine.title, "does not answer; its jobs are waited for"))
            return

        for w in watched:
            w.state = states.get(w.job, State("unknown", False, False))
            if w.state.live:
                w.gone = None
            elif w.gone is None:
                w.gone = now
        say(Working(self.engine.title, _counted(watched)))

    def _tell(self, w: _Watched, say: Say, each: bool) -> None:
        """Pass on the progress of a job since the last look."""
        now = carried.read_progress(w.folder, w.job.number)
        if now is None or now == w.shown:
            return
        # A job that began again counts from 0: its updates from before are spared now.
        say(Advanced(now.advanced - w.shown.advanced))
        say(Spared(now.spared - w.shown.spared))
        if each and now.who:
            say(Working(now.who, now.line, now.beside))
        w.shown = now

    def _ended(
        self, store: Store, batches: Batches, w: _Watched, stopping: bool
    ) -> list[Outcome | Task] | None:
        """Return the outcomes of a job that has ended, as it should or not; None if it goes on.

        A task instead of an outcome is to be handed over again. Either its run was left by an
        earlier command's job, not as this command wants it, or another command has taken the job
        back and handed the run over anew.
        """
        found = carried.read_outcomes(w.folder, w.job.number, w.tasks[0])
        late = 0.0 if w.dropped or stopping else GONE_SECONDS
        if found is None and (w.gone is None or time.monotonic() - w.gone < late):
            return None

        by_seed = {o.seed: o for o in found or ()}
        outcomes: list[Outcome | Task] = []
        for task in w.tasks:
            for seed in task.seeds:
                known = record(store, task.cell, seed)
                reported = by_seed.get(seed)
                if reported is not None and not w.adopted:
                    outcomes.append(self._with_log(w, reported))
                elif known.status.ends(task.evaluate):
                    outcomes.append(self._with_log(w, known_outcome(task, seed, known)))
                elif w.dropped:
                    continue
                elif reported is not None and reported.status.bad:
                    outcomes.append(self._with_log(w, replace(reported, task=task)))
                elif stopping:
                    outcomes.append(
                        Outcome(task, seed, Status.INTERRUPTED, "stopped; the state is saved")
                    )
                elif reported is not None or batches.has_elsewhere(
                    w.job.batch, (task.cell.key, seed)
                ):
                    outcomes.append(replace(task, seeds=(seed,), force=False))
                else:
                    state = w.state or State("unknown", False, False)
                    how = f"{state.word}{f' ({state.why})' if state.why else ''}"
                    reason = (
                        f"its job ended without a result: {how}; run again to go on "
                        "from the last checkpoint"
                    )
                    outcomes.append(self._with_log(w, Outcome(task, seed, Status.FAILED, reason)))
        return outcomes

    def _with_log(self, w: _Watched, outcome: Outcome) -> Outcome:
        """Add the name of the log to the reason of a failed outcome."""
        if outcome.status is not Status.FAILED:
            return outcome
        log = self.engine.log(w.folder, w.job.number)
        return replace(outcome, reason=f"{outcome.reason}; log: {log}")

    # --------------------------------------------------------------------------------------- ending

    def _drop(self, home: Path, watched: list[_Watched]) -> None:
        """Begin nothing more: take waiting jobs out of the queue."""
        waiting = [w for w in watched if not w.dropped and not (w.state and w.state.running)]
        for w in waiting:
            w.dropped = True
        if waiting:
            self.engine.cancel(home, [w.job for w in waiting])

    def _farewell(self, watched: list[_Watched]) -> str:
        left = "1 job goes" if len(watched) == 1 else f"{len(watched)} jobs go"
        ends = self.engine.cancelling([w.job for w in watched])
        return (
            f"no longer watching: {left} on in {self.engine.title}; the same command "
            f"watches again, {ends}"
        )


def _counted(watched: Sequence[_Watched]) -> str:
    """Count the jobs by state: ``jobs: 3 wait (Resources), 2 run, 1 end``."""
    states = [w.state for w in watched if w.state]
    waiting = [s for s in states if s.live and not s.running]
    running = sum(s.running for s in states)
    ending = sum(not s.live for s in states)
    why = Counter(s.why for s in waiting if s.why).most_common(1)

    parts = [f"{len(waiting)} wait{f' ({why[0][0]})' if why else ''}"] if waiting else []
    parts += [f"{running} run"] if running else []
    parts += [f"{ending} end"] if ending else []
    return "jobs: " + ", ".join(parts)
