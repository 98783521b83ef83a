"""The cost of runs, estimated from what finished runs have cost."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaebench.config.cells import Cell, readable, run_key, versions
from vaebench.results import digest, index, shipped
from vaebench.results.digest import cost, sizes
from vaebench.results.long_frame import lacking
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.settings.kinds import is_number


def estimate(
    recorded: Iterable[dict[str, Any]], cell: Cell, kind: str = "", evaluate: bool = True
) -> float | None:
    """Estimate the seconds that a cell takes for each seed.

    Args:
        recorded: Results of runs, or what ``digest.cost`` keeps of them (``Index.costs``,
            ``reference_records``).
        cell: The cell that is to be run.
        kind: Only use runs on a 'cpu' or on 'cuda'.
        evaluate: Include the evaluation.

    Returns:
        The mean over finished runs of the same training settings, by any version of their options.
        If there are none, the mean over runs with the same data, model, sizes and objective, of
        their seconds per update times the cell's upper limit of updates. None if nothing similar is
        recorded. If some runs of either kind were timed by the processor's clock, only these count,
        because the seconds of the others include whatever else the machine did.
    """
    key = cell.key
    sizes_here = sizes(cell.config)

    # Another version of an option computes other numbers, in about the same time.
    keys = {run_key(version) for version in versions(cell.config)}
    updates = cell.train.updates
    unit = cell.train.unit

    # (seconds, record) of finished runs. Only the time of training is proportional to the updates.
    of_same_settings = []
    of_similar_runs = []
    for record in recorded:
        training = _known(record.get("seconds"))
        if record.get("status") != Status.DONE or not training or not _on(kind, record):
            continue

        evaluated = _known(record.get("eval_seconds")) if evaluate else 0.0

        if record["key"] in keys:
            of_same_settings.append((training + evaluated, record))
        elif (budget := _budget(cost(record), unit)) and _alike(
            cost(record), key, sizes_here, "dims" in cell.config["model"]
        ):
            of_similar_runs.append((training / budget * updates + evaluated, record))

    return _mean(of_same_settings, of_similar_runs)


def evaluation(recorded: Iterable[dict[str, Any]], cell: Cell, kind: str = "") -> float | None:
    """Estimate the seconds that an evaluation of one seed takes; arguments as of ``estimate``.

    It is the mean over runs that were evaluated by the same ``eval`` settings: those of the same
    training settings, else those with the same data, model, sizes and objective.
    """
    key = cell.key
    keys = {run_key(version) for version in versions(cell.config)}
    sizes_here = sizes(cell.config)
    eval_digest = digest.evaluation(cell.config)

    of_same_settings = []
    of_similar_runs = []
    for record in map(cost, recorded):
        seconds = _known(record.get("eval_seconds"))
        if not seconds or not _on(kind, record) or record["evaluation"] != eval_digest:
            continue

        if record["key"] in keys:
            of_same_settings.append((seconds, record))
        elif _alike(record, key, sizes_here):
            of_similar_runs.append((seconds, record))

    return _mean(of_same_settings, of_similar_runs)


def stored_evaluation(store: Store, cell: Cell, kind: str = "") -> float | None:
    """Return ``evaluation`` from the runs of a store."""
    with index.opened(store) as runs:
        return evaluation(runs.costs([cell.key]), cell, kind)


def reference_records() -> list[dict[str, Any]]:
    """Return a record for each run of the shipped reference results.

    A record has key and seed, the costs, and what the run was made for. Unknown numbers are None.
    Files that are not results CSVs (curves) are left out. [] if this installation has no reference
    results.
    """
    # A run has a line for each measure, and may be in the CSVs of several tables and presets. Its
    # lines in one CSV have the same times. Another CSV may have those of another evaluation; the
    # first one counts.
    by_run: dict[tuple[str, int], dict[str, Any]] = {}
    folder = shipped.folder()
    for path in sorted(folder.glob("*.csv")) if folder else ():
        with contextlib.suppress(OSError, ValueError, csv.Error):
            for record in _from_csv(path):
                by_run.setdefault((record["key"], record["seed"]), record)
    return list(by_run.values())


Timed = list[tuple[float, dict[str, Any]]]
"""Seconds, and the record of the run that took them."""


def _mean(of_same_settings: Timed, of_similar_runs: Timed) -> float | None:
    """Return the mean of the seconds of the best runs that there are; None if there are none.

    Runs timed by the processor's clock are better than others, then those of the same settings.
    """
    kinds = (of_same_settings, of_similar_runs)
    by_processor = [[timed for timed in kind if timed[1].get("clock")] for kind in kinds]
    best = next(filter(None, [*by_processor, *kinds]), [])
    return math.fsum(seconds for seconds, _ in best) / len(best) if best else None


def _known(seconds: float | None) -> float:
    """Return the seconds, or 0 if they were not recorded."""
    return seconds if seconds and math.isfinite(seconds) else 0.0


def _on(kind: str, record: dict[str, Any]) -> bool:
    """Whether a run was on this kind of device; '' means any."""
    return (record.get("device") or "").startswith(kind)


def _budget(record: dict[str, Any], unit: str) -> float | None:
    """Return what a run was trained for, in ``unit``; None if it is not known."""
    # The updates made are recorded. Of epochs only the upper limit of the settings is known.
    if unit == "updates":
        return record.get("updates")
    budget = record["budget"]
    return budget if record["unit"] == unit and is_number(budget) else None


def _alike(record: dict[str, Any], key: str, sizes_here: str, by_key: bool = False) -> bool:
    """Whether an update of a recorded run takes about as long as one of the run ``key``.

    It does with the same data, model, objective and sizes. The first three are in the readable
    part of the key. Sizes are known from the settings or, with ``by_key``, from ``dims`` in the
    key.
    """
    if readable(record["key"]) != readable(key):
        return False
    return record["sizes"] == sizes_here if record["sizes"] else by_key


def _from_csv(path: Path) -> list[dict[str, Any]]:
    """Return one record for each line of the results CSV at ``path``, read without pandas.

    Raises ValueError if it is not a results CSV.
    """
    numbers = ("seconds", "eval_seconds", "updates")
    with path.open(encoding="utf-8", newline="") as f:
        lines = csv.DictReader(f, strict=True)
        if lacking(lines.fieldnames or ()):
            raise ValueError(f"{path} is no results CSV")
        records = list(lines)

    # csv puts surplus fields under the key None, and None in place of missing ones.
    if any(None in r or None in r.values() for r in records):
        raise ValueError(f"{path} is damaged")

    return [
        {"key": r["key"], "seed": int(r["seed"])}
        | {name: float(r[name]) if r[name] else None for name in numbers}
        | {name: r.get(name, "") for name in ("status", "device", "clock", "table", "preset")}
        for r in records
    ]
