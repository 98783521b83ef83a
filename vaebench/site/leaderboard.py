"""Leaderboards: models of all tables on the same data, ranked within one kind of number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vaebench.protocol.protocol import Protocol
from vaebench.report.select import (
    Estimate,
    Record,
    averaged,
    estimate,
    mean_of,
    only_current,
    records,
)
from vaebench.results.status import Status
from vaebench.site.sources import Results

MEASURES = ("nll", "iw_nll", "bound")
"""What models are ranked by: NLL (exact), importance-weighted NLL, bound. Lower is better."""

NO_KIND = ("recipe", "select")
"""Parts of a protocol that belong to the training: models that differ in them may
still be compared."""


@dataclass(frozen=True)
class Place:
    """One model at one training setting.

    Attributes:
        table: The first table that has it.
        row: Its row of that table.
        column: Its column of that table.
        preset: The preset by which it was trained.
        key: The name of its runs.
        number: Its mean over seeds.
        updates: Mean number of updates over its seeds; None if not known.
    """

    table: str
    row: str
    column: str
    preset: str
    key: str
    number: Estimate
    updates: float | None


@dataclass(frozen=True)
class Board:
    """Models that may be compared: the same data, split, points and kind of number.

    Attributes:
        data: Name of the data and hash of what was read, as in a protocol.
        kind: The protocol without its data and without the parts of the training (NO_KIND).
        places: The models, the lowest number first.
    """

    data: str
    kind: str
    places: tuple[Place, ...]


def boards(results: Iterable[Results]) -> list[Board]:
    """Return a board for each data set and kind of number; runs that tables share appear once."""
    # (data, kind of number) -> key of the runs -> place. The first table that has a run names it.
    by_board: dict[tuple[str, str], dict[str, Place]] = {}
    for result in results:
        for (row, column, preset, key, signature), rows_alike in _alike(result).items():
            rows_of_mean = averaged(rows_alike)
            number = estimate(rows_of_mean)
            if number is None or number.faulty:  # flagged: not to be judged, so not ranked
                continue

            updates = mean_of(row["updates"] for row in rows_alike)
            place = Place(result.table.name, row, column, preset, key, number, updates)
            by_board.setdefault(_kind(Protocol(signature)), {}).setdefault(key, place)

    return [
        Board(data, kind, tuple(sorted(places.values(), key=lambda place: place.number.mean)))
        for (data, kind), places in sorted(by_board.items())
    ]


def _alike(result: Results) -> dict[tuple[str, ...], list[Record]]:
    """Group the rows of finished runs by row, column, preset, key and signature."""
    by_name: dict[tuple[str, ...], list[Record]] = {}
    for row in only_current(records(result.frame)):
        if row["status"] == Status.DONE and row["metric"] in MEASURES:
            name = tuple(row[part] for part in ("row", "column", "preset", "key", "signature"))
            by_name.setdefault(name, []).append(row)
    return by_name


def _kind(signature: Protocol) -> tuple[str, str]:
    """Return the data, with their hash, and what else makes numbers comparable, as one line."""
    parts = dict(signature.parts)
    data = parts.pop("data", "")
    measure = parts.pop("measure")
    other_parts = [f"{name} {value}" for name, value in parts.items() if name not in NO_KIND]
    return data, ", ".join([measure, *other_parts])
