"""The report for a terminal: plain text, no colour."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from vaebench.config import Table
from vaebench.report.layout import lay_out
from vaebench.report.ranking import Ranking, rank
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
"""Characters to which the notes are wrapped; the table itself is as wide as it is."""


def render(table: Table, frame: pd.DataFrame) -> str:
    """Title line, table, ranking where there are three rows to rank, notes."""
    rows = summarize(table, frame)
    layout = lay_out(table, rows)
    blocks = [layout.title, grid(layout.headers, layout.cells, layout.alignment)]
    ranks = rank(rows)
    if ranks is not None:
        blocks.append(_ranking(ranks))
    blocks.append("\n".join(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in layout.footnotes))
    return "\n\n".join(blocks) + "\n"


def grid(headers: tuple[str, ...], cells: tuple[tuple[str, ...], ...], alignment: tuple[str, ...]) -> str:
    """Aligned columns under a ruled header."""
    from tabulate import tabulate

    lines = tabulate(cells, headers, tablefmt="simple", disable_numparse=True, colalign=alignment if cells else None)
    return "\n".join(line.rstrip() for line in lines.splitlines())


def _ranking(ranks: Ranking) -> str:
    cells = tuple((e.name, str(e.published_rank), str(e.our_rank)) for e in ranks.entries)
    tau = "not defined (all ties)" if ranks.tau is None else f"{ranks.tau:.2f}"
    return (
        grid(("order, lowest first", "published", "ours"), cells, ("left", "right", "right"))
        + f"\nKendall's tau of the two orders: {tau} ({len(cells)} entries; 1: the same order)"
    )
