"""What a run will cost, from what finished runs have cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vaebench.config import Cell, conf_dir
from vaebench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("key", "seed", "status", "seconds", "eval_seconds", "updates")
"""What an estimate needs to know of a run."""


def estimate(recorded: pd.DataFrame | Iterable[dict[str, Any]], cell: Cell) -> float | None:
    """Seconds per seed of a cell, from a long frame or from results (``Store.runs``); None where nothing is recorded.

    Training (``seconds``) and evaluation (``eval_seconds``, nothing where it is missing): the mean over finished runs
    of the same training settings; else, from runs with the same data, model, sizes and objective, their seconds per
    update times the cell's upper limit of updates, plus their evaluation as it is.
    """
    records = recorded if not hasattr(recorded, "to_dict") else _from_frame(recorded)
    updates, key = cell.config["train"]["updates"], cell.key
    same, alike = [], []
    for r in records:
        training, evaluation = _known(r.get("seconds")), _known(r.get("eval_seconds"))
        if r.get("status") != "done" or not training:
            continue
        if r["key"] == key:
            same.append(training + evaluation)
        elif _settings(r["key"]) == _settings(key) and r.get("updates"):
            alike.append(training / r["updates"] * updates + evaluation)
    some = same or alike
    return math.fsum(some) / len(some) if some else None


def reference_records() -> list[dict[str, Any]]:
    """The runs in results/reference/*.csv of a checkout, reduced to FIELDS; [] where there is no such folder.

    One record per (key, seed), unknown numbers are None. Files that are not results CSVs (curves) are left out.
    """
    from vaebench.store import read_csv

    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in sorted((conf_dir().parent / "results" / "reference").glob("*.csv")):
        try:
            records = _from_frame(read_csv(path))
        except UserError:
            continue
        for r in records:
            found.setdefault((r["key"], r["seed"]), r)
    return list(found.values())


def _known(seconds: float | None) -> float:
    """Seconds, or 0 where they were not recorded."""
    return seconds if seconds and math.isfinite(seconds) else 0.0


def _settings(key: str) -> str:
    """The readable part of a run key: data, model, sizes and objective, without the hash."""
    return key.rpartition("-")[0]


def _from_frame(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record per run with all of FIELDS, None where a number or a whole column is missing."""
    runs = frame.drop_duplicates(["key", "seed"]).reindex(columns=list(FIELDS))
    numbers = ("seconds", "eval_seconds", "updates")
    return [
        {**r, **{n: None if r[n] != r[n] else r[n] for n in numbers}}
        for r in runs.astype(dict.fromkeys(numbers, "float64")).to_dict("records")
    ]
