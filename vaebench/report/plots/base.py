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
    """``collect``: the numbers of the cells' runs at some seeds, as one frame; ``draw``: them, on an empty figure.

    ``nothing``: why there may be no numbers, in words.
    ``files``: what a file with these numbers beside recorded results may be called, ``RESULTS-NAME.csv``; ``columns``:
    those it must have; ``shown``: what of its lines is drawn. ``from_frame``: the numbers from the long frame of the
    results alone, where no such file is needed.
    """

    collect: Callable[[Store, list[Cell], list[int]], pd.DataFrame]
    draw: Callable[[Figure, pd.DataFrame], None]
    nothing: str
    files: tuple[str, ...] = ("curves",)
    columns: tuple[str, ...] = ()
    shown: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    from_frame: Callable[[pd.DataFrame], pd.DataFrame] | None = None


def runs_of(store: Store, cells: list[Cell], seeds: list[int]) -> list[tuple[Cell, int]]:
    """Cells and seeds whose runs exist, each run once: of cells of a row that share one, the first has it."""
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.table, cell.row, cell.key), cell)
    return [(c, s) for c in first.values() for s in seeds if store.run_dir(c.key, s).is_dir()]
