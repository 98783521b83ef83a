"""Sessions that train tiny cells, and a cluster whose jobs need no waiting."""

from __future__ import annotations

import pytest
from kit.cluster import Cluster

from vaebench.running import session
from vaebench.running import tasks as runner
from vaebench.running.launchers import choose, elsewhere
from vaebench.running.tasks import Task, work
from vaebench.settings.records import RunSettings


@pytest.fixture
def run(store):
    """Function that runs seeds of a cell and returns the statuses of the outcomes."""

    def run(cell, seeds=(0,), **task):
        return [o.status for o in work(Task(cell, tuple(seeds), **task))]

    return run


@pytest.fixture
def trained_from(monkeypatch):
    """List of updates: where each call of ``train`` in the test began."""
    first_updates = []
    real_train = session.train

    def spy(config, splits, seeds, *rest):
        first_updates.append(seeds[0].update)
        return real_train(config, splits, seeds, *rest)

    monkeypatch.setattr(session, "train", spy)
    return first_updates


@pytest.fixture
def cluster(monkeypatch):
    """A simulated cluster, without the waiting times between two looks at it."""
    for name in ("POLL_SECONDS", "ASK_SECONDS", "GONE_SECONDS"):
        monkeypatch.setattr(elsewhere, name, 0.0)
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.01)

    return Cluster()


@pytest.fixture
def said():
    """The events of a launch, in their order."""
    return []


@pytest.fixture
def run_all(said):
    """Function that launches tasks over ``jobs`` processes.

    It returns the outcomes, and whether it was stopped.
    """

    def run_all(tasks, jobs, fail_fast=False):
        return choose(RunSettings(), jobs, len(tasks)).launch(tasks, said.append, fail_fast)[:2]

    return run_all
