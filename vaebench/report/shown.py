"""What a report can show.

That is a table with results, or a figure of formulas (``vaebench.report.drawn``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from vaebench.config.tables import Exhibit, Figure, Table
from vaebench.errors import UserError
from vaebench.report import plots, table_page
from vaebench.report.drawn import Drawn
from vaebench.report.page import Page
from vaebench.report.trails import Trails
from vaebench.results.long_frame import COLUMNS

if TYPE_CHECKING:
    import pandas as pd


class Shown(Protocol):
    """The interface of a table or figure in a report."""

    @property
    def nothing(self) -> str:
        """Why the picture may be empty, in words."""

    def page(self, brief: bool = False, curves: bool = False) -> Page:
        """Return the page; ``brief`` and ``curves``: see ``vaebench.report.Look``."""

    def results(self) -> pd.DataFrame:
        """Return all numbers, as ``--format csv`` writes them."""

    def points(self) -> pd.DataFrame:
        """Return what the picture shows, as ``--curves`` writes it."""

    def image(self, kind: str) -> bytes:
        """Return the picture; ``kind`` is one of ``vaebench.report.images.SUFFIXES``.

        Raises UserError if there is nothing to draw.
        """


@dataclass(frozen=True)
class Measured:
    """A table with results.

    Attributes:
        table: The table, with what the paper printed.
        frame: The results, in the long format.
        figure: The plot of its runs, one of ``vaebench.report.plots.PLOTS``.
        collect: Returns what that plot shows.
        trails: Returns the validation curves.
    """

    table: Table
    frame: pd.DataFrame
    figure: str = ""
    collect: Callable[[], pd.DataFrame] | None = None
    trails: Callable[[], Trails] | None = None

    def page(self, brief: bool = False, curves: bool = False) -> Page:
        """Return the rows beside the published numbers."""
        trails = self.trails() if curves and self.trails is not None else {}
        return table_page.make(self.table, self.frame, brief, trails)

    def results(self) -> pd.DataFrame:
        """Return the long format, one line for each cell, seed and metric."""
        return self.frame[list(COLUMNS)]

    @property
    def nothing(self) -> str:
        """Why the plot may have nothing to show."""
        return plots.plot(self.figure).nothing

    @cached_property
    def _points(self) -> pd.DataFrame:
        assert self.collect is not None
        return self.collect()

    def points(self) -> pd.DataFrame:
        """Return what the plot shows of these runs."""
        return self._points

    def image(self, kind: str) -> bytes:
        """Return the plot of these runs, with the names of the rows that have none."""
        points = self.points()
        absent = plots.plot(self.figure).absent(self.table, points)
        return plots.image(self.figure, points, kind, self.table.title, absent)


def in_order(exhibits: Sequence[Exhibit], measured: Iterable[Measured]) -> list[Shown]:
    """Return what is shown of tables and figures, in their order.

    For tables these are their results; figures are drawn.
    """
    by_table = {results.table.name: results for results in measured}
    return [
        Drawn(exhibit) if isinstance(exhibit, Figure) else by_table[exhibit.name]
        for exhibit in exhibits
    ]


def results_text(shown: Sequence[Shown]) -> str:
    """Return the results of all as one CSV."""
    return _csv_text([each.results() for each in shown])


def points_text(shown: Sequence[Shown]) -> str:
    """Return what the pictures of all show as one CSV. Raises UserError if they show nothing."""
    frames = [each.points() for each in shown]
    if not any(map(len, frames)):
        raise UserError(f"nothing to write: {shown[0].nothing}")
    return _csv_text(frames)


def _csv_text(frames: Sequence[pd.DataFrame]) -> str:
    import pandas as pd

    # If all frames are empty, the first of them still gives the header.
    nonempty = [frame for frame in frames if len(frame)]
    whole = pd.concat(nonempty, ignore_index=True) if nonempty else frames[0]
    return whole.to_csv(index=False, lineterminator="\n")
