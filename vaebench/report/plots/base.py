"""What a plot of trained runs consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vaebench.config.cells import Cell
    from vaebench.results.store import Store


@dataclass(frozen=True)
class Plot:
    """How the runs of a table are drawn.

    Attributes:
        collect: Gives the numbers of the runs of some cells at some seeds, as one frame.
        draw: Draws them on an empty figure.
        nothing: Why there may be no numbers, in words.
        files: Names that a file of these numbers may have beside recorded results: ``RESULTS-NAME.csv``.
        columns: Those that such a file must have.
        shown: Picks the lines of such a file that are drawn.
        from_frame: Gives the numbers from the results alone, if no such file is needed.
    """

    collect: Callable[[Store, list[Cell], list[int]], pd.DataFrame]
    draw: Callable[[Figure, pd.DataFrame], None]
    nothing: str
    files: tuple[str, ...] = ("curves",)
    columns: tuple[str, ...] = ()
    shown: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    from_frame: Callable[[pd.DataFrame], pd.DataFrame] | None = None


def runs_of(store: Store, cells: list[Cell], seeds: list[int]) -> list[tuple[Cell, int]]:
    """Cells and seeds whose runs exist. If cells of a row share a run, only the first of them is named."""
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.table, cell.row, cell.key), cell)
    return [(c, s) for c in first.values() for s in seeds if store.run_dir(c.key, s).is_dir()]
