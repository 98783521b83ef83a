"""What a run will cost, from what finished runs have cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vaebench.config import Cell

if TYPE_CHECKING:
    import pandas as pd


def estimate(recorded: pd.DataFrame | Iterable[dict[str, Any]], cell: Cell) -> float | None:
    """Seconds per seed of a cell, from a long frame or from results (``Store.runs``); None where nothing is recorded.

    The mean over finished runs of the same training settings; else seconds per update of runs with the same data,
    model, sizes and objective, times the cell's upper limit of updates.
    """
    records = recorded if not hasattr(recorded, "to_dict") else _from_frame(recorded)
    same, alike = [], []
    for r in records:
        seconds, updates = r.get("seconds"), r.get("updates")
        if r.get("status") != "done" or not seconds or not math.isfinite(seconds):
            continue
        if r["key"] == cell.key:
            same.append(seconds)
        elif _settings(r["key"]) == _settings(cell.key) and updates:
            alike.append(seconds / updates)
    if same:
        return math.fsum(same) / len(same)
    return math.fsum(alike) / len(alike) * cell.config["train"]["updates"] if alike else None


def _settings(key: str) -> str:
    """The readable part of a run key: data, model, sizes and objective, without the hash."""
    return key.rpartition("-")[0]


def _from_frame(frame: pd.DataFrame) -> list[dict[str, Any]]:
    runs = frame.drop_duplicates(["key", "seed"])[["key", "seed", "status", "seconds", "updates"]]
    return [
        {**r, "updates": None if r["updates"] != r["updates"] else r["updates"]}
        for r in runs.astype({"updates": "float64"}).to_dict("records")
    ]
