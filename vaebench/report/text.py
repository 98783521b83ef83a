"""The report for a terminal: plain text, no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.report.layout import View, lay_out
from vaebench.report.ranking import HEADERS, rank
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
"""Characters to which notes are wrapped; less on a narrower terminal."""

LEADING = ("row", "column", "preset", "metric")
"""Columns that name a line: they stand again where a table is broken for a narrow terminal."""

WORDS = 40
"""Characters to which the words of a cell are wrapped on a narrow terminal."""


def render(table: Table, frame: pd.DataFrame, view: View | None = None) -> str:
    """Title line, table, ranking where there are three rows of one setting to rank, notes."""
    view = view or View()
    rows = summarize(table, frame)
    layout = lay_out(table, rows, view)
    blocks = [_filled(layout.title, view.width), grid(layout.headers, layout.cells, layout.alignment, view.width)]
    for ranks in () if view.brief else rank(rows):
        ranked = grid(HEADERS, ranks.cells(), ("left", "right", "right"), view.width)
        blocks.append(f"{ranked}\n{_filled(ranks.sentence(), view.width)}")
    width = min(WIDTH, view.width or WIDTH)
    notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in layout.footnotes]
    return "\n\n".join([*blocks, "\n".join(notes)] if notes else blocks) + "\n"


def _filled(text: str, width: int | None) -> str:
    return textwrap.fill(text, width) if width else text


def grid(
    headers: Sequence[str], cells: Sequence[Sequence[str]], alignment: Sequence[str], width: int | None = None
) -> str:
    """Aligned columns under a ruled header.

    Where they are wider than ``width`` they come in several tables, one below the other, each with the columns that
    name its lines. Nothing is cut off; lines without content are left out of all but the first.
    """
    whole = _ruled(headers, cells, alignment)
    if width is None or max(map(len, whole.splitlines())) <= width:
        return whole
    cells = [[textwrap.fill(text, WORDS) if len(text) > WORDS else text for text in line] for line in cells]
    leading = [i for i, header in enumerate(headers) if header in LEADING]
    parts: list[list[int]] = [[*leading]]
    for i in (i for i in range(len(headers)) if i not in leading):
        tried = _ruled(*_columns([*parts[-1], i], headers, cells, alignment))
        if len(parts[-1]) > len(leading) and max(map(len, tried.splitlines())) > width:
            parts.append([*leading])
        parts[-1].append(i)
    tables = []
    for part in parts:
        said = [line for line in cells if part is parts[0] or any(line[i] for i in part[len(leading) :])]
        tables.append(_ruled(*_columns(part, headers, said, alignment)))
    return "\n\n".join(tables)


def _columns(which: list[int], *grids: Sequence) -> tuple[list, list, list]:
    headers, cells, alignment = grids
    return [headers[i] for i in which], [[line[i] for i in which] for line in cells], [alignment[i] for i in which]


def _ruled(headers: Sequence[str], cells: Sequence[Sequence[str]], alignment: Sequence[str]) -> str:
    from tabulate import tabulate

    lines = tabulate(cells, headers, tablefmt="simple", disable_numparse=True, colalign=alignment if cells else None)
    return "\n".join(line.rstrip() for line in lines.splitlines())
