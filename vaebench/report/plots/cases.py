"""Training curves against the number of training cases evaluated, as in Kingma & Welling (2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots.base import Plot
from vaebench.report.plots.bound import CURVE, collect_curves, mean_curve
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def collect_cases(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return ``collect_curves`` with a column ``cases``: updates times the examples of a batch."""
    frame = collect_curves(store, cells, seeds)

    # The curves count updates. Two columns may have batches of different sizes.
    batches = {(cell.row, cell.column): cell.train.batch for cell in cells}
    entries = zip(frame["row"], frame["column"], strict=True)
    frame["cases"] = frame["update"] * [batches[entry] for entry in entries]
    return frame


def draw_cases(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw one panel for each row, one colour for each column.

    The lower bound, higher is better, is that of validation and training examples. Lines are means
    over the seeds, drawn only as far as all seeds go. A training value is the mean of the updates
    since the validation before.
    """
    rows = list(dict.fromkeys(frame["row"]))
    columns = list(dict.fromkeys(frame["column"]))
    figure.set_size_inches(1 + 3.2 * len(rows), 3.6)
    panels = figure.subplots(1, len(rows), squeeze=False)[0]

    for panel, row in zip(panels, rows, strict=True):
        for i, column in enumerate(columns):
            runs = frame[(frame["row"] == row) & (frame["column"] == column)]
            if not len(runs):
                continue

            # The frame may come from a file, without its cells: the batch follows from any line.
            batch = int(runs["cases"].iloc[0] // runs["update"].iloc[0])
            for value, line, name in (
                ("valid_bound", "-", "validation"),
                ("train_bound", "--", "training"),
            ):
                # Curves are positive nats; the figure shows the lower bound, hence the minus.
                mean = mean_curve(runs, value)
                panel.plot(
                    mean.index * batch,
                    -mean.to_numpy(),
                    line,
                    color=f"C{i % 10}",
                    label=f"{column}, {name}",
                )

        panel.set(title=row, xlabel="training cases evaluated", xscale="log")
    panels[0].set_ylabel("lower bound (nats), higher is better")
    panels[0].legend(fontsize="x-small", loc="lower right")


CASES = Plot(
    collect_cases,
    draw_cases,
    "none of these runs has reached a validation",
    columns=("update", *CURVE, "cases"),
)
