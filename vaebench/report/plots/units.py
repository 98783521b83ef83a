"""NLL against the number of active units, a point for each run (He et al. 2019, Figure 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots.base import Plot
from vaebench.report.select import measured
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MEASURES = ("iw_nll", "active_units")


def collect(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return table, row, key, seed, iw_nll (nats), active_units.

    They are those of the finished runs that have both, each once.
    """
    return of_frame(store.frame(cells, seeds))


def of_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what ``collect`` does, from the long frame of the runs."""
    import pandas as pd

    # Columns that show the same run repeat its numbers, so the column is no part of its name here.
    run = ["table", "row", "key", "seed"]
    parts = []
    for name in MEASURES:
        values = pd.DataFrame(measured(frame, name), columns=[*run, "value"])
        parts.append(values.drop_duplicates(run).set_index(run)["value"].rename(name))
    return pd.concat(parts, axis=1, join="inner").reset_index()


def draw(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw a point for each run, in a colour for each row of the table."""
    figure.set_size_inches(5.6, 4.0)
    panel = figure.subplots()

    for i, (row, runs) in enumerate(frame.groupby("row", sort=False)):
        # Ten colours; each time they are used up, the next marker.
        panel.plot(
            runs["active_units"],
            runs["iw_nll"],
            "o^sDvP*X"[i // 10 % 8],
            color=f"C{i % 10}",
            label=row,
        )

    panel.set(xlabel="active units", ylabel="importance-weighted NLL (nats)")
    panel.legend(fontsize="small")


UNITS = Plot(
    collect,
    draw,
    "none of these runs has an importance-weighted NLL and active units",
    from_frame=of_frame,
    of=("active_units",),
)
