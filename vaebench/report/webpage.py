"""The report as one HTML page without scripts or outside files."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.report.layout import View, lay_out
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}"
    ".right{text-align:right;font-variant-numeric:tabular-nums}ul{color:#444;max-width:60em}"
)


def render(table: Table, frame: pd.DataFrame, view: View | None = None) -> str:
    """A whole page: title, table, notes."""
    layout = lay_out(table, summarize(table, frame), view)

    def line(tag: str, cells: tuple[str, ...]) -> str:
        inner = "".join(
            f'<{tag} class="{side}">{escape(text)}</{tag}>' for text, side in zip(cells, layout.alignment, strict=True)
        )
        return f"<tr>{inner}</tr>"

    title = escape(layout.title)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>',
            f"<h1>{title}</h1>",
            "<table><thead>",
            line("th", layout.headers),
            "</thead><tbody>",
            *(line("td", cells) for cells in layout.cells),
            "</tbody></table>",
            "<ul>",
            *(f"<li>{escape(note)}</li>" for note in layout.footnotes),
            "</ul></body></html>",
            "",
        ]
    )
