"""The report as a Markdown table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaebench.config import Table
from vaebench.report.layout import lay_out
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd


def render(table: Table, frame: pd.DataFrame) -> str:
    """Title, pipe table, notes as a list."""
    layout = lay_out(table, summarize(table, frame))
    rule = ["---:" if side == "right" else "---" for side in layout.alignment]
    lines = [_line(escape(h) for h in layout.headers), _line(rule)]
    lines += [_line(escape(c) for c in cells) for cells in layout.cells]
    notes = [f"- {escape(note)}" for note in layout.footnotes]
    return "\n".join([f"**{escape(layout.title)}**", "", *lines, "", *notes]) + "\n"


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """Text that Markdown shows as it stands, inside a table cell too."""
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", " ".join(text.split()))
