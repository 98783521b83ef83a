"""Sessions that train tiny cells, and a cluster of jobs that are answered for at once."""

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
    """Run seeds of a cell; the results' statuses."""

    def run(cell, seeds=(0,), **task):
        return [o.status for o in work(Task(cell, tuple(seeds), **task))]

    return run


@pytest.fixture
def trained_from(monkeypatch):
    """The update at which each call of ``train`` begins."""
    began = []
    real = session.train

    def spy(config, splits, seeds, *rest):
        began.append(seeds[0].update)
        return real(config, splits, seeds, *rest)

    monkeypatch.setattr(session, "train", spy)
    return began


@pytest.fixture
def cluster(monkeypatch):
    """A cluster that nobody waits for."""
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
    """Launch tasks over so many processes: (outcomes, whether it was stopped)."""

    def run_all(tasks, jobs, fail_fast=False):
        return choose(RunSettings(), jobs, len(tasks)).launch(tasks, said.append, fail_fast)[:2]

    return run_all
