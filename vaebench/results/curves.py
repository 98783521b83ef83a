"""Names and words of ``curve.csv``, and how far a run is by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaebench.config.cells import Cell
from vaebench.results import run_files

BOUNDS = ("train_bound", "valid_bound")
"""Columns of curves that are bounds: positive nats, lower is better. In version 1 their sign was
opposite."""

UNIT = "nats"
"""Content of the column ``unit`` of ``curve.csv``; version 1 has no such column."""


def share_done(cell: Cell, validated: Sequence[int]) -> float:
    """Return the share of its budget that a run has used, by the updates of its validations.

    A budget of epochs is counted in validations, the first of which is after ``valid_every``.
    """
    if not validated:
        return 0.0

    # One validation every ``valid_every`` epochs; their updates depend on the size of the data.
    epochs = cell.train.unit == "epochs"
    done = len(validated) * cell.train.valid_every if epochs else validated[-1]
    return min(done / cell.train.updates, 1.0)


def validated(folder: Path) -> list[int]:
    """Return the updates at which a run in ``folder`` was validated.

    They are read from its curve, without the checkpoint. From the first line on that is damaged or
    cut short, nothing counts; [] if there is no curve.
    """
    try:
        text = (folder / run_files.CURVE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []

    # A line without its end was being written when the process was killed.
    header, *lines = text.splitlines() or [""]
    if not text.endswith("\n"):
        lines = lines[:-1]

    # Updates grow from line to line. Anything else means a damaged line.
    updates: list[int] = []
    for line in lines:
        update = line.partition(",")[0]
        intact = update.isascii() and update.isdecimal() and line.count(",") == header.count(",")
        if not intact or int(update) <= (updates or [0])[-1]:
            break
        updates.append(int(update))
    return updates
