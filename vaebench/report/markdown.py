"""A page as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaebench.report.page import Grid, Page


def write(page: Page) -> str:
    """Write title, pipe table, sections and notes."""
    lines = [f"**{escape(page.title)}**", "", *table(page.grid)]
    for section in page.sections:
        lines += ["", *table(section.grid), "", escape(section.sentence)]

    if page.footnotes:
        lines += ["", *(f"- {escape(note)}" for note in page.footnotes)]
    return "\n".join(lines) + "\n"


def table(grid: Grid) -> list[str]:
    """Return the lines of a pipe table."""
    rule = ["---:" if side == "right" else "---" for side in grid.sides]
    return [
        _line(map(escape, grid.headers)),
        _line(rule),
        *(_line(map(escape, line)) for line in grid.lines),
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, also inside a table cell."""
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", " ".join(text.split()))
