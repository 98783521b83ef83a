"""Figures that are functions of formulas alone: no data, no training.

A file in conf/table/ names one: ``drawn: NAME``. To add one, add a file here with a ``Drawing``,
and an entry of ``DRAWINGS``. Nothing heavy is imported until it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vaebench.config.tables import Figure
from vaebench.errors import UserError, nearest
from vaebench.report import images
from vaebench.report.drawn.base import Drawing, Point
from vaebench.report.drawn.smoothing import SMOOTHING
from vaebench.report.page import Page

if TYPE_CHECKING:
    import pandas as pd

DRAWINGS: dict[str, Drawing] = {"smoothing": SMOOTHING}


@dataclass(frozen=True)
class Drawn:
    """A figure of formulas as a report shows it (``vaebench.report.Shown``)."""

    figure: Figure
    nothing: str = ""

    @property
    def drawing(self) -> Drawing:
        """The formulas. Raises UserError if the figure names none of DRAWINGS."""
        name = self.figure.drawn
        if name not in DRAWINGS:
            raise UserError(
                f"table {self.figure.name}: drawn: unknown figure {name!r}: "
                f"{nearest(name, DRAWINGS)}"
            )
        return DRAWINGS[name]

    @cached_property
    def lines(self) -> list[Point]:
        """Everything that the figure shows, computed once."""
        return self.drawing.points()

    def page(self, brief: bool = False, curves: bool = False) -> Page:
        """Return the figure's short table; there are no curves of runs."""
        notes = [*self.figure.notes]
        if self.figure.ledger:
            notes.append(
                "where the paper is silent or differs (vaebench show "
                f"table={self.figure.name} says why):"
            )
            notes += [f"{entry.topic}: {entry.here}" for entry in self.figure.ledger]

        return Page(
            title=self.figure.caption,
            grid=self.drawing.grid(self.lines),
            marks=self.drawing.notes,
            notes=() if brief else tuple(notes),
        )

    def results(self) -> pd.DataFrame:
        """Return the points of the curves; there are no other results."""
        return self.points()

    def points(self) -> pd.DataFrame:
        """Return the points of the curves, a line each."""
        import pandas as pd

        return pd.DataFrame(self.lines)

    def image(self, kind: str) -> bytes:
        """Return the figure as an image; ``kind`` is one of ``vaebench.report.images.SUFFIXES``."""
        title = f"{self.figure.title} ({self.figure.where})"
        return images.image(lambda canvas: self.drawing.draw(canvas, self.lines), kind, title)
