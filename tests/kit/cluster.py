"""A cluster in this process: it keeps its jobs in a list, and works when a test asks it to."""

from __future__ import annotations

import json

from vaebench.running.launchers import carried
from vaebench.running.launchers.elsewhere import Elsewhere
from vaebench.running.launchers.engine import Job, State
from vaebench.work.events import Said

RUNS = State("RUNNING", True, True)
WAITS = State("PENDING", True, False, "Resources")


class Cluster:
    """What outlives a command.

    ``jobs``: (batch, number) -> the job's (folder, number, task). ``known``: (batch, number) ->
    where the job stands.
    """

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
    """An engine on a cluster.

    ``each`` is called with the cluster whenever the engine is asked for states. ``starts``: the
    state of a job when it is submitted. ``asks``: what the engine asks of the cluster for a job.
    """

    name = "listed"
    title = "List"
    limit = "a job of a list has no limit"
    most = 3

    def __init__(self, cluster, each=lambda cluster: None, outlives=True, starts=RUNS, **asks):
        self.cluster = cluster
        self.each = each
        self.outlives = outlives
        self.starts = starts
        self._asks = asks
        self.batches = []
        self.cancelled = []
        self.closed = False

    def asks(self):
        return self._asks

    def submit(self, folder, batch, tasks):
        self.note = json.loads((folder / "batch.json").read_text())
        self.batches.append(list(tasks))

        for number, task in enumerate(tasks):
            job = Job(batch, number)
            self.cluster.jobs[job] = (folder, number, task)
            self.cluster.known[job] = self.starts

        return f"batch {len(self.batches)}"

    def states(self, home, batches):
        self.each(self.cluster)
        return {job: state for job, state in self.cluster.known.items() if job.batch in batches}

    def cancel(self, home, jobs):
        self.cancelled += jobs
        for job in jobs:
            # Jobs that run go on; only those that wait are taken out.
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


def lines(said):
    """What was said to the user."""
    return [event.line for event in said if isinstance(event, Said)]


def launch(engine, tasks, said, **how):
    """Hand tasks to an engine and return their outcomes; events go to ``said``."""
    return Elsewhere(engine).launch(tasks, said.append, **how)


def statuses(launched):
    """(updates of the cell, seed, status) of every outcome, sorted."""
    return sorted((o.task.cell.train.updates, o.seed, str(o.status)) for o in launched.outcomes)
