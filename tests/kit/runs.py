"""What is known of stored runs, in the words of a test."""

from __future__ import annotations

from vaebench.results.status import record
from vaebench.running.execute import Asked, unfinished


def status(store, cell, seed):
    """Where a run stands."""
    return record(store, cell, seed).status


def pending(store, cells, seeds, force=False):
    """Each distinct cell with the seeds that are not finished."""
    asked = [Asked(cell, seed, record(store, cell, seed)) for cell in cells for seed in seeds]
    return unfinished(asked, force)
