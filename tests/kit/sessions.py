"""Requests to sessions, and readings of what they leave in a run's folder."""

from __future__ import annotations

import json


class Died(BaseException):
    """An exception that nobody handles, as if the process were killed."""


EARLY = {"train.patience": 1, "train.select": "last", "train.valid_every": 4}
"""Settings with which a cell's training stops before its budget is spent."""


def after(reports):
    """A ``should_stop`` that is False once, for the beginning of a task, and ``reports`` times more
    while it trains; then it asks to stop."""
    left = iter(range(reports + 1))
    return lambda: next(left, None) is None


def result_of(store, cell, seed=0):
    """The result of a run as it stands in its file."""
    return json.loads((store.run_dir(cell.key, seed) / "result.json").read_text())


def measures(result):
    """Values of a result by their signatures, without times."""
    return {m["signature"]: m["value"] for m in result["measures"] if m["unit"] not in ("ms", "h")}


def edit(path, **changes):
    """Change some values of a JSON file."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def files_in(folder):
    """Content and time of every file of a run, by name."""
    return {
        p.name: (p.read_bytes(), p.stat().st_mtime_ns)
        for p in folder.iterdir()
        if p.name != ".lock"
    }
