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
        tasks: What the command waits for. It is the job's own task or, if an earlier command has
            handed the job over, this command's tasks for the runs that the job has.
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

        # Batches of earlier commands with live jobs that this command does not wait for.
        self._in_use: set[str] = set()

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
                was_told = False
                while watched:
                    # A stop leaves jobs alone if they go on without the command; others it ends.
                    if stop() and engine.outlives:
                        return Launched(outcomes, True, self._farewell(watched))
                    if stop() and not was_told:
                        was_told = True
                        self._drop(batches.home, watched)
                        engine.stop([watch.job for watch in watched])

                    new_outcomes, to_hand_over, watched = self._look(
                        store, batches, watched, say, stop()
                    )
                    outcomes += new_outcomes

                    # After a failure waiting jobs are taken back, and running ones go on to their
                    # end. Runs to be handed over again are handed over only while all is well.
                    if fail_fast and bad(outcomes):
                        self._drop(batches.home, watched)
                    elif to_hand_over and not stop():
                        watched += self._hand_over(
                            batches, to_hand_over, say, stop, take_back=False
                        )
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
        # Two commands that looked at the same time would both find a run free, and hand it over
        # twice.
        with batches.one_at_a_time(stop):
            if stop():
                return []

            in_flight, job_of_run = self._in_flight(batches)
            if take_back and self._take_back(batches, in_flight, tasks, say):
                in_flight, job_of_run = self._in_flight(batches)

            # Runs that a job already has are waited for; the others make new jobs.
            adopted: dict[Job, _Watched] = {}
            without_job: list[Task] = []
            for task in tasks:
                free_seeds = []
                for seed in task.seeds:
                    job = job_of_run.get((task.cell.key, seed))
                    if job is None:
                        free_seeds.append(seed)
                        continue
                    watched = adopted.setdefault(
                        job, _Watched(job, batches.folder(job.batch), [], adopted=True)
                    )
                    # What the job has done of the run is not thrown away, even if this command was
                    # to do so (``force``).
                    watched.state = in_flight[job]
                    watched.tasks.append(replace(task, seeds=(seed,), force=False))
                if free_seeds:
                    without_job.append(replace(task, seeds=tuple(free_seeds)))

            self._in_use |= {job.batch for job in in_flight if job not in adopted}

            if adopted:
                jobs = counted(len(adopted), "job")
                say(
                    Said(
                        f"{jobs} of an earlier command in {self.engine.title}: waited for, "
                        "not handed over again"
                    )
                )

            return [*adopted.values(), *self._submit(batches, without_job, say)]

    def _in_flight(
        self, batches: Batches
    ) -> tuple[Mapping[Job, State], dict[tuple[str, int], Job]]:
        """Return the jobs that the engine still has, and (key, seed) -> the job with that run.

        Notes of batches that have ended are removed.
        """
        notes = batches.noted()
        if not notes:
            return {}, {}

        # Without an answer nothing may be handed over, since the runs may be with jobs already.
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
        return live, {run: job for job in live for run in notes[job.batch].runs(job.number)}

    def _take_back(
        self, batches: Batches, in_flight: Mapping[Job, State], tasks: Sequence[Task], say: Say
    ) -> list[Job]:
        """Take jobs out of the queue that would ask for something else now.

        Only jobs that have not begun are taken, and only if all their runs are wanted now. A job
        that begins at this moment goes on.

        Returns:
            The jobs that were taken.
        """
        asks = self.engine.asks()
        wanted_runs = {(task.cell.key, seed) for task in tasks for seed in task.seeds}
        notes = batches.noted()
        to_cancel: dict[Job, Mapping[str, Any]] = {}
        for job, state in in_flight.items():
            asked_before = notes[job.batch].asks
            all_wanted = wanted_runs.issuperset(notes[job.batch].runs(job.number))
            if (
                not state.running
                and all_wanted
                and asked_before is not None
                and asked_before != asks
            ):
                to_cancel[job] = asked_before
        if not to_cancel:
            return []

        self.engine.cancel(batches.home, list(to_cancel))

        # A job may have begun while it was being cancelled. It goes on, and nothing is handed over
        # anew.
        live = self._once_settled(batches.home, list(to_cancel))
        taken = [job for job in to_cancel if job not in live]
        if taken:
            asked_before = to_cancel[taken[0]]
            changed = {
                name: asked_now
                for name, asked_now in asks.items()
                if asked_before.get(name) != asked_now
            }
            changes = ", ".join(
                f"run.{name}={asked_before.get(name)} (now {asked_now})"
                for name, asked_now in changed.items()
            )
            jobs = counted(len(taken), "job")
            say(
                Said(
                    f"{jobs} of an earlier command had not begun and asked for "
                    f"{changes}: handed over anew"
                )
            )
        return taken

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
            tasks_of_batch = tasks[first : first + self.engine.most]

            # Noted first: if this command is killed in between, the next one finds the jobs.
            batch = batches.begin(tasks_of_batch, self.engine.asks())
            folder = batches.folder(batch)
            try:
                name = self.engine.submit(folder, batch, tasks_of_batch)
            except Exception:
                batches.forget(batch)
                raise
            jobs = counted(len(tasks_of_batch), "job")
            say(Said(f"{jobs} handed to {self.engine.title} ({name}); their logs are in {folder}"))
            watched += [
                _Watched(Job(batch, i), folder, [task]) for i, task in enumerate(tasks_of_batch)
            ]
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
        to_hand_over: list[Task] = []
        left: list[_Watched] = []

        running = sum(watch.state is not None and watch.state.running for watch in watched)
        for watch in watched:
            # A job that waits in the queue has nothing new to tell.
            if watch.state is not None and watch.state.live and not watch.state.running:
                left.append(watch)
                continue

            self._tell(watch, say, each=running <= FEW)
            ended = self._ended(store, batches, watch, stopping)
            if ended is None:
                left.append(watch)
                continue

            for outcome in ended:
                if isinstance(outcome, Task):
                    to_hand_over.append(outcome)
                    continue
                outcomes.append(outcome)
                say(outcome)

        # The files of a batch are removed once none of its jobs is left. If it has jobs that this
        # command does not wait for, they need them still: a later command removes them.
        ended_batches = {watch.job.batch for watch in watched} - {watch.job.batch for watch in left}
        for batch in ended_batches - self._in_use:
            with contextlib.suppress(OSError):
                batches.forget(batch)
        return outcomes, to_hand_over, left

    def _ask(self, home: Path, watched: list[_Watched], say: Say) -> None:
        """Ask the engine for the jobs' states, now and then, and say how many wait."""
        now = time.monotonic()
        if now < self._ask_from:
            return

        # A slow engine is asked less often: at most a tenth of the time is spent on its answers.
        states = self.engine.states(home, sorted({watch.job.batch for watch in watched}))
        took = time.monotonic() - now
        self._ask_from = now + max(ASK_SECONDS, 10 * took)
        if states is None:
            say(Working(self.engine.title, "does not answer; its jobs are waited for"))
            return

        # A job without a live state has ended, or is between two states; ``gone`` says since when.
        for watch in watched:
            watch.state = states.get(watch.job, State("unknown", False, False))
            if watch.state.live:
                watch.gone = None
            elif watch.gone is None:
                watch.gone = now
        say(Working(self.engine.title, _counted(watched)))

    def _tell(self, watch: _Watched, say: Say, each: bool) -> None:
        """Pass on the progress of a job since the last look."""
        progress = carried.read_progress(watch.folder, watch.job.number)
        if progress is None or progress == watch.shown:
            return
        # A job that began again counts from 0: its updates from before are spared now.
        say(Advanced(progress.advanced - watch.shown.advanced))
        say(Spared(progress.spared - watch.shown.spared))
        if each and progress.who:
            say(Working(progress.who, progress.line, progress.beside))
        watch.shown = progress

    def _ended(
        self, store: Store, batches: Batches, watch: _Watched, stopping: bool
    ) -> list[Outcome | Task] | None:
        """Return the outcomes of a job that has ended, whether well or not; None if it goes on.

        A task in the place of an outcome is to be handed over again. Either the job of an earlier
        command ended without doing all that this command wants of the run. Or another command has
        taken the job back and handed the run over anew.
        """
        reported = carried.read_outcomes(watch.folder, watch.job.number, watch.tasks[0])
        patience = 0.0 if watch.dropped or stopping else GONE_SECONDS
        if reported is None and (watch.gone is None or time.monotonic() - watch.gone < patience):
            return None

        # The job of an earlier command may have done its runs otherwise than this command asks, for
        # instance without an evaluation. So for an adopted job the store is asked first.
        by_seed = {outcome.seed: outcome for outcome in reported or ()}
        outcomes: list[Outcome | Task] = []
        for task in watch.tasks:
            for seed in task.seeds:
                stored = record(store, task.cell, seed)
                report = by_seed.get(seed)
                if report is not None and not watch.adopted:
                    outcomes.append(self._with_log(watch, report))
                elif stored.status.ends(task.evaluate):
                    outcomes.append(self._with_log(watch, known_outcome(task, seed, stored)))
                # It was cancelled while it waited, so there is nothing to tell.
                elif watch.dropped:
                    continue
                elif report is not None and report.status.bad:
                    outcomes.append(self._with_log(watch, replace(report, task=task)))
                elif stopping:
                    outcomes.append(
                        Outcome(task, seed, Status.INTERRUPTED, "stopped; the state is saved")
                    )
                elif report is not None or batches.has_elsewhere(
                    watch.job.batch, (task.cell.key, seed)
                ):
                    outcomes.append(replace(task, seeds=(seed,), force=False))
                # The job was killed, or its node was lost.
                else:
                    state = watch.state or State("unknown", False, False)
                    how = f"{state.word}{f' ({state.why})' if state.why else ''}"
                    reason = (
                        f"its job ended without a result: {how}; run again to go on "
                        "from the last checkpoint"
                    )
                    outcomes.append(
                        self._with_log(watch, Outcome(task, seed, Status.FAILED, reason))
                    )
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
    known_states = [w.state for w in watched if w.state]
    waiting = [state for state in known_states if state.live and not state.running]
    running = sum(state.running for state in known_states)
    ending = sum(not state.live for state in known_states)
    reasons = Counter(state.why for state in waiting if state.why).most_common(1)

    parts = [f"{len(waiting)} wait{f' ({reasons[0][0]})' if reasons else ''}"] if waiting else []
    parts += [f"{running} run"] if running else []
    parts += [f"{ending} end"] if ending else []
    return "jobs: " + ", ".join(parts)
