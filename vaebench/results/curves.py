"""Names and words of ``curve.csv``, and how far a run is by it."""

from __future__ import annotations

from pathlib import Path

from vaebench.results import run_files

BOUNDS = ("train_bound", "valid_bound")
"""Columns of curves that are bounds: positive nats, lower is better. In version 1 their sign was
opposite."""

UNIT = "nats"
"""Content of the column ``unit`` of ``curve.csv``; version 1 has no such column."""


def validated(folder: Path) -> list[int]:
    """Return the updates at which a run in ``folder`` was validated.

    They are read from its curve, without the checkpoint; [] if there is none that can be read.
    """
    try:
        lines = (folder / run_files.CURVE).read_text().splitlines()[1:]
        return [int(line.partition(",")[0]) for line in lines]
    except (OSError, ValueError):
        return []
