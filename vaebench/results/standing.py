"""Where a run stands, read from its folder once and passed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vaebench.config.cells import Cell
from vaebench.protocol.signature import evaluated
from vaebench.results import run_files
from vaebench.results.current import is_current
from vaebench.results.result_file import readable_measures
from vaebench.results.stats import Measure, repeats_of
from vaebench.results.status import Status
from vaebench.results.store import Store


class Record(NamedTuple):
    """What is known of the run of one cell at one seed.

    Attributes:
        status: Its status.
        result: Content of ``result.json``; empty if there is none, or a damaged one.
    """

    status: Status
    result: Mapping[str, Any]


def record(store: Store, cell: Cell, seed: int) -> Record:
    """Read the status of a run. Raises UserError if there is a result that cannot be read.

    A damaged result counts as missing. If a measure is lacking, the run counts as not evaluated.
    """
    result = store.read_result(cell.key, seed)
    if result is None:
        begun = (store.run_dir(cell.key, seed) / run_files.CHECKPOINT).exists()
        return Record(Status.PARTIAL if begun else Status.NEW, {})
    return Record(_status(cell, result), result)


def _status(cell: Cell, result: Mapping[str, Any]) -> Status:
    try:
        status = Status(result["status"])
    except ValueError:  # written by some other program
        return Status.FAILED
    if status is not Status.DONE:
        return status

    # Measures taken under other settings, or with fewer repeats, do not count as evaluated.
    repeats = cell.eval.repeats
    measured = {
        m.name for m in readable_measures(result) if is_current(cell, m) and _repeats(m) >= repeats
    }
    return status if measured.issuperset(evaluated(cell.config, cell.measure)) else Status.TRAINED


def _repeats(measure: Measure) -> int:
    """Return how many evaluations a measure is made of."""
    repeats = repeats_of(measure.extra)
    return len(repeats["values"]) if repeats else 1
