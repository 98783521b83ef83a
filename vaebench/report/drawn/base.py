"""What a figure of formulas alone consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = dict[str, Any]
"""One line of a figure's CSV: column name -> text or number. All points of a figure have the same columns."""


@dataclass(frozen=True)
class Drawing:
    """``points`` computes all there is to show; the others show it.

    ``grid``: headers and lines of a short table, whose first ``words`` columns are words and stand to the left.
    ``draw``: the panels on an empty matplotlib figure, whose size it sets. ``notes``: what stands under the table.
    """

    points: Callable[[], list[Point]]
    grid: Callable[[list[Point]], tuple[tuple[str, ...], list[tuple[str, ...]]]]
    draw: Callable[[Figure, list[Point]], None]
    notes: tuple[str, ...] = ()
    words: int = 1
