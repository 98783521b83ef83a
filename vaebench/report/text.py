"""The report for a terminal: plain text, no colour."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from vaebench.config import Table
from vaebench.report.layout import lay_out
from vaebench.report.ranking import HEADERS, rank
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
"""Characters to which the notes are wrapped; the table itself is as wide as it is."""


def render(table: Table, frame: pd.DataFrame) -> str:
    """Title line, table, ranking where there are three rows of one setting to rank, notes."""
    rows = summarize(table, frame)
    layout = lay_out(table, rows)
    blocks = [layout.title, grid(layout.headers, layout.cells, layout.alignment)]
    for ranks in rank(rows):
        blocks.append(grid(HEADERS, ranks.cells(), ("left", "right", "right")) + f"\n{ranks.sentence()}")
    blocks.append("\n".join(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in layout.footnotes))
    return "\n\n".join(blocks) + "\n"


def grid(headers: tuple[str, ...], cells: tuple[tuple[str, ...], ...], alignment: tuple[str, ...]) -> str:
    """Aligned columns under a ruled header."""
    from tabulate import tabulate

    lines = tabulate(cells, headers, tablefmt="simple", disable_numparse=True, colalign=alignment if cells else None)
    return "\n".join(line.rstrip() for line in lines.splitlines())
