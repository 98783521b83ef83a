"""Plots of trained runs, by name (``--figure``).

A table's ``figure`` says which one is its paper's. To add one, add a file here with a ``Plot``, an
entry of ``PLOTS``, and its name in ``vaebench.config.tables.PLOTS``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest
from vaebench.files import write_output
from vaebench.report import images
from vaebench.report.plots.base import Plot
from vaebench.report.plots.bound import BOUND
from vaebench.report.plots.cases import CASES
from vaebench.report.plots.imputation import IMPUTATION
from vaebench.report.plots.information import INFORMATION
from vaebench.report.plots.means import MEANS, PATH
from vaebench.report.plots.units import UNITS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PLOTS: dict[str, Plot] = {
    "bound": BOUND,
    "cases": CASES,
    "imputation": IMPUTATION,
    "information": INFORMATION,
    "means": MEANS,
    "path": PATH,
    "units": UNITS,
}

CHARACTERS = 14
"""Characters of a line of small letters, per inch."""


def plot(name: str) -> Plot:
    """Return the plot of that name. Raises UserError if it is not in PLOTS."""
    if name not in PLOTS:
        raise UserError(f"--figure {name}: {nearest(name, PLOTS)}")
    return PLOTS[name]


def image(
    name: str, frame: pd.DataFrame, kind: str, title: str, absent: Sequence[str] = ()
) -> bytes:
    """Draw what the plot collected as an image file.

    Args:
        name: Name of the plot.
        frame: What it collected.
        kind: One of ``vaebench.report.images.SUFFIXES``.
        title: Title above the drawing.
        absent: Rows that belong here and have no run; they are named below the drawing.

    Raises:
        UserError: If there is nothing to draw.
    """
    chosen = plot(name)
    if not len(frame):
        raise UserError(f"nothing to draw: {chosen.nothing}")

    def draw(canvas: Figure) -> None:
        chosen.draw(canvas, frame)

        # The plot has set the size, so only now it is known how long a line may be.
        if absent:
            characters = int(CHARACTERS * canvas.get_figwidth())
            canvas.supxlabel(
                textwrap.fill(f"no run: {'; '.join(absent)}", characters), fontsize="small"
            )

    return images.image(draw, kind, title)


def save_plot(name: str, frame: pd.DataFrame, path: Path, title: str) -> None:
    """Draw a plot as ``image`` does, and write it to a png, svg or pdf file.

    Raises UserError if the suffix is another one, or the file cannot be written.
    """
    write_output(path, image(name, frame, images.kind_of(path), title))
