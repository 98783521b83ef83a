"""Training curves of a figure: collected from run directories, and drawn."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import Cell
from vaebench.errors import UserError
from vaebench.report.images import encode, kind_of
from vaebench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

CURVE = ("update", "seconds", "train_bound", "valid_bound")
"""Columns taken from curve.csv. Bounds are in nats and negative, as on a paper's axis."""


def collect_curves(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """One line per validation: table, row, column, seed (whole numbers), then CURVE; unknown numbers are NaN.

    Runs without a curve have no lines. A last line that was cut off by a killed process is left out. Cells of a row
    that share a run, because they differ only in what is measured of it, have one curve, that of the first.
    """
    import pandas as pd

    lines: list[tuple] = []
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.table, cell.row, cell.key), cell)
    for cell in first.values():
        for seed in seeds:
            points = _read(store.run_dir(cell.key, seed) / "curve.csv")
            lines += [(cell.table, cell.row, cell.column, seed, *point) for point in points]
    frame = pd.DataFrame(lines, columns=["table", "row", "column", "seed", *CURVE])
    types = {**dict.fromkeys(("table", "row", "column"), "str"), "seed": "int64", "update": "int64"}
    return frame.astype({**types, **dict.fromkeys(CURVE[1:], "float64")})


def _read(path: Path) -> list[tuple[int, float, float, float]]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    complete = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(complete))
    missing = [c for c in CURVE if c not in (reader.fieldnames or CURVE)]
    if missing:
        raise UserError(f"{path}: missing columns {', '.join(missing)}; expected {', '.join(CURVE)}")
    try:
        return [(int(line["update"]), *(float(line[c] or "nan") for c in CURVE[1:])) for line in reader]
    except (TypeError, ValueError):
        raise UserError(f"{path}: line {reader.line_num} is damaged") from None


def plot_curves(frame: pd.DataFrame, path: Path | str, title: str, ylim: tuple[float, float] | None = None) -> None:
    """Validation bound (nats) against updates: one panel per row, one colour per column.

    Thin lines are seeds; the thick one is their mean, drawn only as far as every seed goes. The suffix of ``path``
    chooses png, svg or pdf. UserError for another suffix or for no curves.
    """
    path = Path(path)
    kind = kind_of(path)
    if not len(frame):
        raise UserError("no curves to draw: none of these runs has reached a validation")
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    rows, columns = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))
    figure = Figure(figsize=(1 + 4.2 * len(rows), 3.8), layout="constrained")
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for panel, row in zip(panels, rows, strict=True):
        for i, column in enumerate(columns):
            runs = frame[(frame["row"] == row) & (frame["column"] == column)]
            if len(runs):
                _draw(panel, runs, column, f"C{i % 10}")
        panel.set(title=row, xlabel="parameter updates")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.legend(fontsize="small", loc="lower right")
    panels[0].set_ylabel("validation bound (nats)")
    if ylim is not None:
        panels[0].set_ylim(*ylim)
    figure.suptitle(title)
    try:
        write_atomic(path, encode(figure, kind))
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None


def mean_curve(runs: pd.DataFrame) -> pd.Series:
    """Mean validation bound by update, over the updates that every seed has; NaN where any seed is not finite."""
    wide = runs.pivot_table(index="update", columns="seed", values="valid_bound", aggfunc="last", dropna=False)
    seen = runs.groupby("update")["seed"].nunique()
    return wide[(seen == runs["seed"].nunique()).reindex(wide.index)].mean(axis=1, skipna=False)


def _draw(panel, runs: pd.DataFrame, column: str, colour: str) -> None:
    seeds = runs["seed"].nunique()
    if seeds > 1:
        for _, run in runs.groupby("seed"):
            panel.plot(run["update"], run["valid_bound"], color=colour, linewidth=0.5, alpha=0.5)
    mean = mean_curve(runs)
    label = column if seeds == 1 else f"{column} (mean of {seeds})"
    panel.plot(mean.index, mean.to_numpy(), color=colour, linewidth=1.5, label=label)
