"""The report as a Markdown table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.report.layout import View, lay_out
from vaebench.report.ranking import HEADERS, rank
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd


def render(table: Table, frame: pd.DataFrame, view: View | None = None) -> str:
    """Title, pipe table, the ranking as another one where there are three rows of one setting to rank, notes."""
    rows = summarize(table, frame)
    layout = lay_out(table, rows, view)
    lines = _table(layout.headers, layout.cells, layout.alignment)
    for ranks in () if view and view.brief else rank(rows):
        lines += ["", *_table(HEADERS, ranks.cells(), ("left", "right", "right")), "", escape(ranks.sentence())]
    notes = [f"- {escape(note)}" for note in layout.footnotes]
    return "\n".join([f"**{escape(layout.title)}**", "", *lines, *([""] if notes else []), *notes]) + "\n"


def _table(headers: tuple[str, ...], cells: tuple[tuple[str, ...], ...], alignment: tuple[str, ...]) -> list[str]:
    rule = ["---:" if side == "right" else "---" for side in alignment]
    return [_line(escape(h) for h in headers), _line(rule), *(_line(escape(c) for c in line) for line in cells)]


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """Text that Markdown shows as it stands, inside a table cell too."""
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", " ".join(text.split()))
