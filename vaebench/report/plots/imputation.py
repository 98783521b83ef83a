"""Per cent of the missing pixels that are wrong.

It is shown against the steps of the chain that fills them in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots.base import Plot
from vaebench.report.select import measured
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MEASURE = "imputation"

RUN = ("table", "row", "column", "seed")
"""Columns that name a run in the points."""


def collect(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return table, row, column, seed, step, wrong and error (per cent) of all runs with these."""
    return of_frame(store.frame(cells, seeds))


def of_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what ``collect`` does, from the long frame of the runs."""
    import pandas as pd

    lines = []
    for run in measured(frame, MEASURE):
        # ``curve`` maps a step to per cent of wrong pixels; its keys are texts, as JSON has them.
        extra = json.loads(run["extra"]) if run["extra"] else {}
        for step, wrong in extra.get("curve", {}).items():
            error = extra.get("curve_error", {}).get(step)
            lines.append((*(run[name] for name in RUN), int(step), wrong, error))
    return pd.DataFrame(lines, columns=[*RUN, "step", "wrong", "error"])


def draw(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw a panel for each column, with the mean over the seeds as a line for each row."""
    columns = list(dict.fromkeys(frame["column"]))
    figure.set_size_inches(1 + 2.9 * len(columns), 3.4)

    for panel, column in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        for row, runs in frame[frame["column"] == column].groupby("row", sort=False):
            mean = runs.groupby("step")["wrong"].mean()
            panel.plot(mean.index, mean, ".-", label=row)

        panel.set(title=column, xlabel="steps")
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    figure.axes[0].set_ylabel("wrong pixels (% of the missing)")


IMPUTATION = Plot(
    collect,
    draw,
    "none of these runs has filled in missing pixels (eval=imputation)",
    from_frame=of_frame,
    of=(MEASURE,),
)
