"""Training curves: the validation bound against updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots import curve_files
from vaebench.report.plots.base import Plot
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE = ("seconds", "train_bound", "valid_bound")
"""Columns of a curve. Bounds are positive nats, lower is better, as in results. ``train_bound`` is
without log Z if training is."""

MORE = ("train_inner", "valid_kl", "valid_mi_batch", "valid_mi", "valid_active_units")
"""Columns for objectives with inner loops and models with latents; they are not drawn."""


def collect_curves(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return table, row, column, seed, update, CURVE, and the existing columns of MORE.

    See ``curve_files``.
    """
    return curve_files.collect(store, cells, seeds, CURVE, MORE)


def draw_curves(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw one panel for each row, one colour for each column, in nats.

    Thin lines are seeds. The thick one is their mean, drawn only as far as all seeds go.
    """
    from matplotlib.ticker import EngFormatter

    rows = list(dict.fromkeys(frame["row"]))
    columns = list(dict.fromkeys(frame["column"]))
    figure.set_size_inches(1 + 4.2 * len(rows), 3.8)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]

    for panel, row in zip(panels, rows, strict=True):
        for i, column in enumerate(columns):
            runs = frame[(frame["row"] == row) & (frame["column"] == column)]
            if len(runs):
                _draw(panel, runs, column, f"C{i % 10}")

        panel.set(title=row, xlabel="parameter updates")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.legend(fontsize="small", loc="upper right")
    panels[0].set_ylabel("validation bound (nats), lower is better")


def mean_curve(runs: pd.DataFrame, value: str = "valid_bound") -> pd.Series:
    """Return the mean of ``value`` by update, over the updates that all seeds have.

    It is NaN if any seed is not finite.
    """
    # Updates x seeds. ``dropna=False`` keeps an update whose values are all NaN.
    wide = runs.pivot_table(
        index="update", columns="seed", values=value, aggfunc="last", dropna=False
    )

    # A value that is NaN counts as a validation: the mean is NaN there, and the line has a gap. A
    # mean over those seeds alone that go on would jump where another one ends.
    seeds_with_update = runs.groupby("update")["seed"].nunique()
    return wide[(seeds_with_update == runs["seed"].nunique()).reindex(wide.index)].mean(
        axis=1, skipna=False
    )


def _draw(panel: Axes, runs: pd.DataFrame, column: str, colour: str) -> None:
    seeds = runs["seed"].nunique()
    if seeds > 1:
        for _, run in runs.groupby("seed"):
            panel.plot(run["update"], run["valid_bound"], color=colour, linewidth=0.5, alpha=0.5)

    mean = mean_curve(runs)
    label = column if seeds == 1 else f"{column} (mean of {seeds})"
    panel.plot(mean.index, mean.to_numpy(), color=colour, linewidth=1.5, label=label)


BOUND = Plot(
    collect_curves,
    draw_curves,
    "none of these runs has reached a validation",
    columns=("update", *CURVE),
)
