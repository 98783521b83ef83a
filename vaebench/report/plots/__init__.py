"""Plots of trained runs, by name (``--figure``); a table's ``figure`` says which one is its paper's.

To add one: a file here with a ``Plot``, an entry of ``PLOTS``, its name in ``vaebench.config.cells.PLOTS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest
from vaebench.report.images import kind_of, save
from vaebench.report.plots.base import Plot
from vaebench.report.plots.bound import BOUND
from vaebench.report.plots.information import INFORMATION
from vaebench.report.plots.means import MEANS, PATH
from vaebench.report.plots.units import UNITS

if TYPE_CHECKING:
    import pandas as pd

PLOTS: dict[str, Plot] = {"bound": BOUND, "information": INFORMATION, "means": MEANS, "path": PATH, "units": UNITS}


def plot(name: str) -> Plot:
    """The plot of that name. Raises UserError for one that is not in PLOTS."""
    if name not in PLOTS:
        raise UserError(f"--figure {name}: {nearest(name, PLOTS)}")
    return PLOTS[name]


def save_plot(name: str, frame: pd.DataFrame, path: Path | str, title: str) -> None:
    """Draw ``frame``, which the plot collected, to a png, svg or pdf file. UserError for others, or nothing to draw."""
    chosen = plot(name)
    kind_of(Path(path))
    if not len(frame):
        raise UserError(f"nothing to draw: {chosen.nothing}")
    save(Path(path), lambda figure: chosen.draw(figure, frame), title)
