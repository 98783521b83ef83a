"""A page as HTML without scripts or other files."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from vaebench.report.page import Grid, Page

STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}"
    ".right{text-align:right;font-variant-numeric:tabular-nums}ul{color:#444;max-width:60em}"
)


def write(page: Page) -> str:
    """Write a whole document: title, table, sections, notes."""
    title = escape(page.title)
    lines = [
        "<!doctype html>",
        (
            '<html lang="en"><head><meta '
            f'charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>'
        ),
        f"<h1>{title}</h1>",
        *_table(page.grid),
    ]
    for section in page.sections:
        lines += [*_table(section.grid), f"<p>{escape(section.sentence)}</p>"]

    notes = [f"<li>{escape(note)}</li>" for note in page.footnotes]
    return "\n".join([*lines, "<ul>", *notes, "</ul></body></html>"]) + "\n"


def _table(grid: Grid) -> list[str]:
    head = _line("th", grid.headers, grid.sides)
    body = [_line("td", cells, grid.sides) for cells in grid.lines]
    return ["<table><thead>", head, "</thead><tbody>", *body, "</tbody></table>"]


def _line(tag: str, cells: Iterable[str], sides: Iterable[str]) -> str:
    inner = (
        f'<{tag} class="{side}">{escape(text)}</{tag}>'
        for text, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"
