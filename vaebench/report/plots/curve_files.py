"""The curves that runs keep: ``curve.csv``, a line for each validation, bounds as positive nats.

Files without the column ``unit`` are from runs of older versions. Their bounds have the opposite
sign, which is changed here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.report.plots.base import runs_of
from vaebench.results import curves, run_files
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)


def collect(
    store: Store,
    cells: list[Cell],
    seeds: list[int],
    wanted: tuple[str, ...],
    more: tuple[str, ...] = (),
    *,
    only: bool = False,
) -> pd.DataFrame:
    """Return the curves of some runs, one line for each validation.

    The columns are table, row, column, seed and update (whole numbers), ``wanted``, and those of
    ``more`` that any curve has. Unknown numbers are NaN. Runs without a curve have no lines. A last
    line that was cut off when the process was killed is left out. If cells of a row share a run,
    its curve is there once, for the first of them.

    Args:
        store: The store with the runs.
        cells: The cells.
        seeds: The seeds.
        wanted: Columns that a curve must have.
        more: Columns that a curve may have.
        only: Leave out curves that lack a wanted column.

    Raises:
        UserError: If there are no lines because curves are damaged or, without ``only``, lack a
            wanted column. If there are others, such a curve is left out with a warning.
    """
    import pandas as pd

    # A damaged curve must not hide those of the other runs, so its error is kept for later.
    lines: list[tuple[object, ...]] = []
    refused: list[UserError] = []
    for cell, seed in runs_of(store, cells, seeds):
        try:
            points = _read(store.run_dir(cell.key, seed) / run_files.CURVE, wanted, more, only)
        except UserError as e:
            refused.append(e)
            continue
        lines += [(cell.table, cell.row, cell.column, seed, *point) for point in points]

    if refused and not lines:
        raise refused[0]
    for error in refused:
        log.warning("left out: %s", error)

    frame = pd.DataFrame(
        lines, columns=["table", "row", "column", "seed", "update", *wanted, *more]
    )

    # The types are set so that a frame without lines has them too.
    types = {**dict.fromkeys(("table", "row", "column"), "str"), "seed": "int64", "update": "int64"}
    frame = frame.astype({**types, **dict.fromkeys((*wanted, *more), "float64")})
    return frame.drop(columns=[c for c in more if frame[c].isna().all()])


def whole(path: Path) -> pd.DataFrame:
    """Return all columns of numbers of one ``curve.csv``; no rows if it does not exist.

    Raises UserError if it is damaged.
    """
    import pandas as pd

    lines = curves.lines(path)
    names = tuple(name for name in lines.header if name not in ("update", "unit"))
    points = _points(path, lines, names, (), only=False)
    return pd.DataFrame(points, columns=["update", *names]).astype({"update": "int64"})


def bounds(path: Path) -> list[tuple[int, float]]:
    """Return update and validation bound of each line of a ``curve.csv``.

    [] if it does not exist.

    Raises:
        UserError: If it is damaged or has no such column.
    """
    return [(int(update), bound) for update, bound in _read(path, ("valid_bound",), (), only=False)]


def _read(
    path: Path, wanted: tuple[str, ...], more: tuple[str, ...], only: bool
) -> list[tuple[float, ...]]:
    return _points(path, curves.lines(path), wanted, more, only)


def _points(
    path: Path, lines: curves.Lines, wanted: tuple[str, ...], more: tuple[str, ...], only: bool
) -> list[tuple[float, ...]]:
    header, rows, damaged = lines
    columns = ("update", *wanted)

    # A file without a header has no lines either, so no column is missed.
    missing = [c for c in columns if c not in (header or columns)]
    if missing and only:
        return []
    if missing:
        raise UserError(
            f"{path}: missing columns {', '.join(missing)}; expected {', '.join(columns)}"
        )

    points: list[tuple[float, ...]] = []
    for number, row in enumerate(rows, 2):
        line = dict(zip(header, row, strict=True))
        try:
            points.append((int(line["update"]), *(_number(line, c) for c in (*wanted, *more))))
        except ValueError:
            damaged = number
            break

    if damaged is not None:
        raise UserError(f"{path}: line {damaged} is damaged")
    return points


def _number(line: dict[str, str], column: str) -> float:
    # Files without the column ``unit`` have bounds of the opposite sign (see above).
    value = float(line.get(column) or "nan")
    turned = column in curves.BOUNDS and "unit" not in line
    return -value if turned else value
