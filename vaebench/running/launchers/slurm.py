"""Slurm, through submitit.

A batch is a job array. Before its time limit a job saves its state and is queued again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaebench.errors import UserError
from vaebench.running.launchers.carried import carry_out
from vaebench.running.launchers.engine import Job, State, asks_of
from vaebench.running.tasks import Task
from vaebench.settings.records import RunSettings

LIVE = (
    *(
        "PENDING",
        "RUNNING",
        "SUSPENDED",
        "COMPLETING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
    ),
    *("RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
)
"""States of jobs that have not ended."""

REQUEUES = 10_000
"""How often a job may reach its limit and be continued."""

INSTALL = "pip install 'vaebench[slurm]'"


class Slurm:
    """The engine Slurm; see ``engine.Engine``.

    Raises UserError if submitit is not installed, or this machine does not have Slurm.
    """

    name = "slurm"
    title = "Slurm"
    limit = "a job of Slurm is given run.time_limit, and goes on after it"
    outlives = True
    most = 1000  # Slurm's default of MaxArraySize is 1001

    def __init__(self, settings: RunSettings) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(f"run.launcher=slurm needs the package submitit: {INSTALL}") from None

        # submitit logs to the standard output, which is for results.
        logging.getLogger("submitit").handlers.clear()

        if settings.grace >= 60 * settings.time_limit:
            raise UserError(
                f"run.grace={settings.grace}: allowed: fewer seconds than the "
                f"{settings.time_limit} minutes of run.time_limit"
            )

        self._settings = settings
        self._ids: dict[Job, str] = {}
        try:
            self._executor: type[Any] = submitit.SlurmExecutor
            self._executor(folder=os.curdir)
        except RuntimeError:
            raise UserError(
                "run.launcher=slurm: the commands of Slurm (srun, sbatch) are not here"
            ) from None

    def asks(self) -> Mapping[str, Any]:
        """Return what a job asks for; see ``Engine.asks``."""
        settings = self._settings
        of_slurm = {
            "partition": settings.partition,
            "time_limit": settings.time_limit,
            "grace": settings.grace,
            "sbatch": list(settings.sbatch),
        }
        return asks_of(settings) | of_slurm

    def submit(self, folder: Path, batch: str, tasks: Sequence[Task]) -> str:
        """Hand a batch over; see ``Engine.submit``."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self._executor(folder=folder, max_num_timeout=REQUEUES)
        executor.update_parameters(**self._parameters(batch, len(tasks)))
        try:
            jobs = executor.submit_array(
                [Carried(folder, index, task) for index, task in enumerate(tasks)]
            )
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            # submitit's error has the whole command and its output: show the lines of sbatch.
            lines = [
                line.strip()
                for line in str(error).splitlines()
                if "sbatch" in line and "error" in line
            ]
            raise UserError(f"Slurm refuses the jobs: {'; '.join(lines) or error}") from None

        # Slurm numbers the jobs of an array "123_0", "123_1", ...
        self._ids.update({Job(batch, i): job.job_id for i, job in enumerate(jobs)})
        return f"job {jobs[0].job_id.partition('_')[0]}"

    def _parameters(self, batch: str, jobs: int) -> dict[str, Any]:
        """Return the settings in submitit's names."""
        # Options of sbatch that the user gave, ``key=value`` or ``key`` for a flag.
        settings = self._settings
        of_sbatch: dict[str, Any] = {"requeue": True}
        for text in settings.sbatch:
            key, equals, value = text.partition("=")
            of_sbatch[key] = value if equals else True

        asks = asks_of(settings)
        return {
            "job_name": _name(batch),
            "time": settings.time_limit,
            "signal_delay_s": settings.grace,
            "cpus_per_task": asks["cpus"],
            "array_parallelism": min(settings.parallel or jobs, jobs),
            "stderr_to_stdout": True,
            "additional_parameters": of_sbatch,
            **({"partition": settings.partition} if settings.partition else {}),
            **({"mem": f"{settings.memory}GB"} if settings.memory else {}),
            **({"gpus_per_node": asks["gpus"]} if asks["gpus"] else {}),
        }

    def states(self, home: Path, batches: Sequence[str]) -> Mapping[Job, State] | None:
        """Return the states of jobs; see ``Engine.states``.

        If the submitting command was lost before a job got its task, the job is cancelled.
        """
        command = [
            "squeue",
            "--noheader",
            "--array",
            "--me",
            "--states=all",
            "--format=%i|%j|%T|%r",
        ]
        output = _output([*command, f"--name={','.join(map(_name, batches))}"])
        if output is None:
            return None

        # Columns of --format: number of the job, its name (``_name`` of its batch), state, reason.
        states: dict[Job, State] = {}
        for line in output.splitlines():
            number, name, word, reason = line.split("|", 3)
            array_index = number.partition("_")[2] or "0"
            if not array_index.isdigit():  # an array whose jobs are not listed one by one
                continue

            # submitit renames a job's task to <number>_submitted.pkl once sbatch has given it the
            # number. If the file is missing, and the job is not this command's own, it has no task.
            job = Job(name.partition("-")[2], int(array_index))
            live = word in LIVE
            if (
                live
                and job not in self._ids
                and not (home / job.batch / f"{number}_submitted.pkl").exists()
            ):
                _output(["scancel", number])
                continue

            states[job] = State(
                word, live, word in ("RUNNING", "COMPLETING"), "" if reason == "None" else reason
            )
            self._ids[job] = number
        return states

    def cancel(self, home: Path, jobs: Sequence[Job]) -> None:
        """Take jobs out of the queue; see ``Engine.cancel``."""
        numbers = [self._ids[job] for job in jobs if job in self._ids]
        for first in range(0, len(numbers), 500):  # the length of a command line is limited
            _output(["scancel", "--state=PENDING", *numbers[first : first + 500]])

    def cancelling(self, jobs: Sequence[Job]) -> str:
        """Say how to end the jobs; see ``Engine.cancelling``."""
        arrays = dict.fromkeys(self._ids[job].partition("_")[0] for job in jobs if job in self._ids)
        return f"scancel {' '.join(arrays)} ends them"

    def stop(self, jobs: Sequence[Job]) -> None:
        """Do nothing, because jobs go on without the command."""

    def log(self, folder: Path, index: int) -> Path:
        """Return the path of a job's log; see ``Engine.log``."""
        # The name of a log is <array>_<index>_<task>_log.out. A batch of a single job is no array,
        # so its name lacks the index.
        of_job = sorted(folder.glob(f"*_{index}_0_log.out"))
        without_index = [p for p in folder.glob("*_0_log.out") if p.name.count("_") == 2]
        return next(iter([*of_job, *without_index]), folder)

    def close(self) -> None:
        """Do nothing, because nothing is open."""


class Carried:
    """The function of a job, which submitit stores.

    submitit stores it once more (``checkpoint``) before the job is queued again.
    """

    def __init__(self, folder: Path, index: int, task: Task) -> None:
        self.folder = folder
        self.index = index
        self.task = task
        self.place = os.getcwd()

    def __call__(self) -> None:
        """Carry the task out.

        SIGUSR2 comes before the time limit: the state is saved, and submitit queues the job again.
        SIGTERM comes from ``scancel`` or a preemption: the state is saved, and the job ends. Slurm
        queues a preempted job again.
        """
        os.chdir(self.place)

        received: list[int] = []
        with _signals(received) as handlers:
            done = carry_out(self.folder, self.index, self.task, lambda: bool(received))
            if done:
                return

            # submitit's own handler stores this function again, and queues the job again.
            if signal.SIGUSR2 in received:
                handlers[signal.SIGUSR2](signal.SIGUSR2, None)
            sys.exit(128 + signal.SIGTERM)

    def checkpoint(self) -> Any:
        """Return the same function again, because the state is in the folders of the runs."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@contextlib.contextmanager
def _signals(received: list[int]) -> Iterator[Mapping[signal.Signals, Any]]:
    """Append each SIGUSR2 and SIGTERM to ``received`` for the time of the block.

    The block gets the previous handlers.
    """
    handlers = {
        handled: signal.signal(handled, lambda number, _: received.append(number))
        for handled in (signal.SIGUSR2, signal.SIGTERM)
    }

    try:
        yield handlers
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _name(batch: str) -> str:
    return f"vaebench-{batch}"


def _output(command: list[str]) -> str | None:
    """Return what a command of Slurm prints.

    None if it fails, as it does while Slurm does not answer.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
