"""The parts of a figure of formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.report.page import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Point = dict[str, Any]
"""One line of a figure's CSV: column name -> text or number. All points of a figure
have the same columns."""


@dataclass(frozen=True)
class Drawing:
    """A figure of formulas: what it shows, and how.

    Attributes:
        points: Computes all points.
        grid: Makes a short table of the points.
        draw: Draws them on an empty matplotlib figure, and sets its size.
        notes: Notes below the table.
    """

    points: Callable[[], list[Point]]
    grid: Callable[[list[Point]], Grid]
    draw: Callable[[Canvas, list[Point]], None]
    notes: tuple[str, ...] = ()
