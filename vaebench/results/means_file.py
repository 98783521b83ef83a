"""``means.csv``, the posterior means of a run: its columns and its reader."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from vaebench.errors import UserError

SELECTED = "selected"
"""Kind of the parameters that are evaluated. The other kinds, '' and 'inner', are those of
snapshots."""


class Point(NamedTuple):
    """A line: the two means of one example, row ``case`` of ``split``, after ``update`` updates."""

    split: str
    update: int
    kind: str
    case: int
    model: float
    encoder: float


_KINDS = dict(zip(Point._fields, (str, int, str, int, float, float), strict=True))


def read(path: Path) -> list[Point]:
    """Return the lines of the file; none if it does not exist. UserError if it is damaged."""
    try:
        with path.open(newline="") as f:
            lines = list(csv.DictReader(f))
        return [Point(*(kind(line[c]) for c, kind in _KINDS.items())) for line in lines]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError, OSError) as e:
        raise UserError(f"{path}: damaged ({e}); remove it and run vaebench eval") from None
