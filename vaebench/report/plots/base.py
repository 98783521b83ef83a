"""The parts of a plot of trained runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vaebench.config.cells import Cell
    from vaebench.config.tables import Table
    from vaebench.results.store import Store


@dataclass(frozen=True)
class Plot:
    """How the runs of a table are drawn.

    Attributes:
        collect: Returns the numbers of the runs of some cells at some seeds, as one frame.
        draw: Draws them on an empty figure.
        nothing: Why there may be no numbers, in words.
        files: Names that a file of these numbers may have beside recorded results:
            ``RESULTS-NAME.csv``.
        columns: Columns that such a file must have.
        shown: Picks the lines of such a file that are drawn.
        from_frame: Returns the numbers from the results alone, if no such file is needed.
        of: Measures that the plot can show; only table rows with one of them are expected in it.
            Empty: all rows.
    """

    collect: Callable[[Store, list[Cell], list[int]], pd.DataFrame]
    draw: Callable[[Figure, pd.DataFrame], None]
    nothing: str
    files: tuple[str, ...] = ("curves",)
    columns: tuple[str, ...] = ()
    shown: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    from_frame: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    of: tuple[str, ...] = ()

    def absent(self, table: Table, frame: pd.DataFrame) -> list[str]:
        """Return rows of a table that the plot should show but that ``frame`` lacks.

        They are in the table's order. Only rows with a measure of ``of`` are expected; if the table
        has none, all its rows are.
        """
        entries = table.trained()
        expected = [row for row, column in entries if table.measure_of(column) in self.of]
        drawn = set(frame["row"])

        return [
            row
            for row in dict.fromkeys(expected or (row for row, _ in entries))
            if row not in drawn
        ]


def runs_of(store: Store, cells: list[Cell], seeds: list[int]) -> list[tuple[Cell, int]]:
    """Return the cells and seeds whose runs exist.

    If cells of a row share a run, only the first of them is returned.
    """
    # (table, row, key of the run) -> cell
    first_cell: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first_cell.setdefault((cell.table, cell.row, cell.key), cell)

    return [(c, s) for c in first_cell.values() for s in seeds if store.run_dir(c.key, s).is_dir()]
