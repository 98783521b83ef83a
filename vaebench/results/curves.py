"""Names and words of ``curve.csv``, and how far a run is by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class Lines(NamedTuple):
    """The lines of a ``curve.csv``.

    Attributes:
        header: Names of the columns.
        rows: The texts of each line, as many as there are columns.
        damaged: Number of the first damaged line, counted from 1; ``rows`` ends before it. None if
            all lines are sound.
    """

    header: list[str]
    rows: list[list[str]]
    damaged: int | None


def lines(path: Path) -> Lines:
    """Read a ``curve.csv`` as far as it is sound; without lines if it does not exist.

    A line is sound if it has a text for each column, and a later update than the line before. A
    last line that was cut off when the process was killed is left out.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return Lines([], [], None)

    complete = text[: text.rfind("\n") + 1]
    header, *others = [line.split(",") for line in complete.splitlines()] or [[]]

    rows: list[list[str]] = []
    last_update = 0
    for number, row in enumerate(others, 2):
        update = row[0]
        is_whole = update.isascii() and update.isdecimal()
        if not is_whole or len(row) != len(header) or int(update) <= last_update:
            return Lines(header, rows, number)
        rows.append(row)
        last_update = int(update)
    return Lines(header, rows, None)


def validated(folder: Path) -> list[int]:
    """Return the updates at which a run in ``folder`` was validated.

    They are read from its curve, without the checkpoint. From the first damaged line on, nothing
    counts; [] if there is no curve, or it cannot be read.
    """
    try:
        rows = lines(folder / run_files.CURVE).rows
    except OSError:
        return []
    return [int(row[0]) for row in rows]
