"""What a run will cost, from what finished runs have cost."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.cells import Cell, canonical, run_key, settings_of, versions
from vaebench.results import shipped
from vaebench.results.store import lacking
from vaebench.settings.kinds import is_number

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("key", "seed", "status", "seconds", "eval_seconds", "updates", "device")
"""What an estimate needs to know of a run."""


def estimate(recorded: pd.DataFrame | Iterable[dict[str, Any]], cell: Cell, kind: str = "") -> float | None:
    """Seconds per seed of a cell, from a long frame or from results (``Store.runs``); None where nothing is recorded.

    Training (``seconds``) and evaluation (``eval_seconds``, nothing where it is missing): the mean over finished runs
    of the same training settings, by any version of their options; else, from runs with the same data, model, sizes and
    objective, their seconds per update times the cell's upper limit of updates, plus their evaluation as it is. A run's
    sizes are known from its ``config``, without one from its key where that shows them. ``kind``: runs on a 'cpu' or on
    'cuda' only.
    """
    records = recorded if not hasattr(recorded, "to_dict") else _from_frame(recorded)
    mine, key = cell.config, cell.key
    keys = {run_key(version) for version in versions(mine)}
    updates, unit = mine["train"]["updates"], mine["train"].get("unit", "updates")
    same, alike = [], []
    for r in records:
        training, evaluation = _known(r.get("seconds")), _known(r.get("eval_seconds"))
        if r.get("status") != "done" or not training or not (r.get("device") or "").startswith(kind):
            continue
        if r["key"] in keys:
            same.append(training + evaluation)
        elif (
            (theirs := _budget(r, unit)) and _settings(r["key"]) == _settings(key) and _as_large(r.get("config"), mine)
        ):
            alike.append(training / theirs * updates + evaluation)
    some = same or alike
    return math.fsum(some) / len(some) if some else None


def evaluation(recorded: Iterable[dict[str, Any]], cell: Cell, kind: str = "") -> float | None:
    """Seconds of the evaluation of one seed of a cell, from results (``Store.runs``); None where nothing is recorded.

    The mean over runs that were evaluated by the same ``eval`` settings: those of the same training settings; else
    those with the same data, model, sizes and objective. ``kind`` as for ``estimate``.
    """
    same, alike = [], []
    for r in recorded:
        seconds, config = _known(r.get("eval_seconds")), r.get("config")
        if not seconds or not config or not (r.get("device") or "").startswith(kind):
            continue
        if canonical(config["eval"]) != canonical(cell.config["eval"]):
            continue
        if r["key"] == cell.key:
            same.append(seconds)
        elif _settings(r["key"]) == _settings(cell.key) and _as_large(config, cell.config):
            alike.append(seconds)
    some = same or alike
    return math.fsum(some) / len(some) if some else None


def reference_records() -> list[dict[str, Any]]:
    """The runs of the shipped reference results, reduced to FIELDS; [] if this installation has none.

    One record per (key, seed), unknown numbers are None. Files that are not results CSVs (curves) are left out.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    place = shipped.folder()
    for path in sorted(place.glob("*.csv")) if place else ():
        with contextlib.suppress(OSError, ValueError, csv.Error):
            for r in _from_csv(path):
                found.setdefault((r["key"], r["seed"]), r)
    return list(found.values())


def _known(seconds: float | None) -> float:
    """Seconds, or 0 where they were not recorded."""
    return seconds if seconds and math.isfinite(seconds) else 0.0


def _budget(record: dict[str, Any], unit: str) -> float | None:
    """What a run was trained for, in ``unit``; None where that is not known."""
    if unit == "updates":
        return record.get("updates")
    train = (record.get("config") or {}).get("train", {})
    budget = train.get("updates")
    return budget if train.get("unit") == unit and is_number(budget) else None


def _settings(key: str) -> str:
    """The readable part of a run key: data, model, sizes and objective, without the hash."""
    return key.rpartition("-")[0]


def _as_large(config: dict[str, Any] | None, mine: dict[str, Any]) -> bool:
    """Whether an update of runs with the same readable key takes about as long, by the sizes of their settings."""
    if not config:
        return "dims" in mine["model"]  # those stand in the key
    return _sizes(config) == _sizes(mine)


def _sizes(config: dict[str, Any]) -> list[Any]:
    """The model's settings but real numbers, the objective's whole ones (samples, sweeps, chains), the batch."""
    model = {k: v for k, v in config["model"].items() if not isinstance(v, float) and not k.startswith("init")}
    counts = {k: v for k, v in settings_of(config["objective"]).items() if type(v) is int}
    return [model, counts, config["train"].get("batch")]


def _from_csv(path: Path) -> list[dict[str, Any]]:
    """As ``_from_frame`` of the results CSV at ``path``, without pandas. ValueError where it is none."""
    numbers = ("seconds", "eval_seconds", "updates")
    with path.open(encoding="utf-8", newline="") as f:
        lines = csv.DictReader(f, strict=True)
        if lacking(lines.fieldnames or ()):
            raise ValueError(f"{path} is no results CSV")
        records = list(lines)
    if any(None in r or None in r.values() for r in records):  # too many fields, too few
        raise ValueError(f"{path} is damaged")
    return [
        {"key": r["key"], "seed": int(r["seed"]), "status": r["status"], "device": r["device"]}
        | {name: float(r[name]) if r[name] else None for name in numbers}
        for r in records
    ]


def _from_frame(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record per run with all of FIELDS, None where a number or a whole column is missing."""
    runs = frame.drop_duplicates(["key", "seed"]).reindex(columns=list(FIELDS))
    numbers = ("seconds", "eval_seconds", "updates")
    return [
        {**r, **{n: None if r[n] != r[n] else r[n] for n in numbers}}
        for r in runs.astype(dict.fromkeys(numbers, "float64")).to_dict("records")
    ]
