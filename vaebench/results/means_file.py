"""``means.csv``, the posterior means of a run: its columns, and how it is read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from vaebench.errors import UserError

SELECTED = "selected"
"""The kind of the parameters that are evaluated; the others are those of
snapshots, '' and 'inner'."""


class Point(NamedTuple):
    """A line: the two means of one ``case``, its row in ``split``, after ``update`` updates."""

    split: str
    update: int
    kind: str
    case: int
    model: float
    encoder: float


_KINDS = dict(zip(Point._fields, (str, int, str, int, float, float), strict=True))


def read(path: Path) -> list[Point]:
    """What the file holds, nothing where there is none. Raises UserError for a damaged one."""
    try:
        with path.open(newline="") as f:
            lines = list(csv.DictReader(f))
        return [Point(*(kind(line[c]) for c, kind in _KINDS.items())) for line in lines]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError, OSError) as e:
        raise UserError(f"{path}: damaged ({e}); remove it and run vaebench eval") from None
