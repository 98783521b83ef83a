"""Posterior mean space (He et al. 2019).

The mean of the model's posterior is on the x axis, that of the encoder's on the y axis: on the
diagonal they agree. ``means`` shows all examples at every snapshot and at the end (Figures 2 and
6). ``path`` shows single examples from snapshot to snapshot, including those after inner loops
(Figure 3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots.base import Plot, runs_of
from vaebench.results import means_file, run_files
from vaebench.results.means_file import SELECTED
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 6
"""Examples of a path, spread evenly."""


def collect(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return table, row, column, seed, then the columns of means.csv, of all runs with this file.

    Raises UserError if one is damaged.
    """
    import pandas as pd

    lines = []
    for cell, seed in runs_of(store, cells, seeds):
        points_of_run = means_file.read(store.run_dir(cell.key, seed) / run_files.MEANS)
        lines += [(cell.table, cell.row, cell.column, seed, *point) for point in points_of_run]
    return pd.DataFrame(
        lines, columns=["table", "row", "column", "seed", *means_file.Point._fields]
    )


def _runs(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return title -> the run of the first seed, for every row.

    If rows have several columns, it is for every row and column.
    """
    several_columns = frame.groupby("row")["column"].nunique().max() > 1

    by_title = {}
    for row, column in (
        frame[["row", "column"]].drop_duplicates().itertuples(index=False, name=None)
    ):
        runs = frame[(frame["row"] == row) & (frame["column"] == column)]
        by_title[f"{row} / {column}" if several_columns else str(row)] = runs[
            runs["seed"] == runs["seed"].min()
        ]
    return by_title


def draw(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw one line of panels for each row of the table, for its first seed.

    From left to right they are the snapshots and the end.
    """
    runs = _runs(frame)
    rows = list(runs)
    stages_of_row = {row: _stages(run) for row, run in runs.items()}

    most_stages = max(len(stages) for stages in stages_of_row.values())
    figure.set_size_inches(1 + 2.3 * most_stages, 0.8 + 2.3 * len(rows))
    panels = figure.subplots(len(rows), most_stages, squeeze=False)

    for panels_of_row, row in zip(panels, rows, strict=True):
        # The same limits for both axes and all stages, so that stages can be compared. They are
        # never below 1.5, so points that are all near the origin stay there on the panel.
        limit = max(1.5, 1.05 * float(runs[row][["model", "encoder"]].abs().to_numpy().max()))

        for panel in panels_of_row[len(stages_of_row[row]) :]:
            panel.axis("off")
        for panel, (title, points) in zip(panels_of_row, stages_of_row[row], strict=False):
            panel.plot([-limit, limit], [-limit, limit], "--", color="grey", linewidth=0.8)
            panel.plot(points["model"], points["encoder"], "x", markersize=3, markeredgewidth=0.6)
            panel.locator_params(nbins=5)
            panel.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit))
        panels_of_row[0].set_ylabel(f"{row}\nencoder's mean", fontsize="small")
    for panel in panels[-1]:
        panel.set_xlabel("model's mean")


def _stages(run: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return titles and points of a run's snapshots, then of its end.

    Snapshots after inner loops are left out.
    """
    snapshots = run[run["kind"] == ""]
    end = run[run["kind"] == SELECTED]
    stages = [
        (f"{update:,} updates", points) for update, points in snapshots.groupby("update", sort=True)
    ]
    return stages + [(f"selected ({update:,})", points) for update, points in end.groupby("update")]


def draw_path(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw one panel for each row of the table, for its first seed.

    Each example is a line, with a cross where it begins and dots for stages.
    """
    rows = _runs(frame)
    figure.set_size_inches(1 + 3.4 * len(rows), 3.6)

    for panel, (row, run) in zip(
        figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True
    ):
        # ``kind`` tells snapshots before and after an inner loop at the same update apart: "" is
        # sorted before all others.
        run = run[run["kind"] != SELECTED].sort_values(["update", "kind"], kind="stable")

        cases = list(dict.fromkeys(run["case"]))
        limit = max(1e-3, 1.05 * float(run[["model", "encoder"]].abs().to_numpy().max()))

        panel.plot([-limit, limit], [-limit, limit], "--", color="grey", linewidth=0.8)

        for i in range(min(SHOWN, len(cases))):
            path = run[run["case"] == cases[i * len(cases) // min(SHOWN, len(cases))]]
            panel.plot(
                path["model"], path["encoder"], ".-", linewidth=0.8, markersize=3, color=f"C{i}"
            )
            panel.plot(path["model"].iloc[:1], path["encoder"].iloc[:1], "x", color=f"C{i}")

        panel.locator_params(nbins=5)
        panel.set(
            title=row,
            xlabel="model's mean",
            ylabel="encoder's mean",
            xlim=(-limit, limit),
            ylim=(-limit, limit),
        )


_NOTHING = (
    "none of these runs has means.csv: it comes with train.snapshots, a scalar "
    "latent and an evaluation"
)
MEANS = Plot(collect, draw, _NOTHING, files=("means", "path"), columns=means_file.Point._fields)
PATH = replace(MEANS, draw=draw_path)
