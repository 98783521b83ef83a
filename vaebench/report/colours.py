"""Colours of a page on a terminal, added to the finished text.

They change no visible character and no width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
YELLOW = "33"
"""Colour codes of ANSI terminals."""

VERDICTS = {
    "yes": GREEN,
    "better": GREEN,
    "diverged too": GREEN,
    "no": RED,
    "not diverged": RED,
    "unclear": YELLOW,
    "n=1": DIM,
    "not trained here": DIM,
    "-": DIM,
}
"""First words of a verdict -> colour."""

STATUSES = {
    "failed": RED,
    "diverged": RED,
    "without a number": RED,
    "partial": YELLOW,
    "trained": YELLOW,
    "not run": DIM,
}
"""Words in the column of notes -> colour, the most important first."""


def paint(text: str, code: str) -> str:
    """Return a text in a colour; blanks around it stay as they are."""
    stripped = text.strip()
    return text.replace(stripped, f"\033[{code}m{stripped}\033[0m", 1) if stripped else text


def grid(text: str, headers: Sequence[str]) -> str:
    """Return the lines of a ruled grid, in colour.

    Coloured are headers, verdicts, statuses and flagged numbers.
    """
    # The runs of dashes in the rule say from where to where each column reaches.
    header_line, rule, *lines = text.split("\n")
    spans = [match.span() for match in re.finditer("-+", rule)]
    painted = [_line(line, spans, headers) for line in lines]
    return "\n".join([paint(header_line, BOLD), rule, *painted])


def _line(line: str, spans: Sequence[tuple[int, int]], headers: Sequence[str]) -> str:
    # ``position`` is the end of the previous cell; what lies between two cells is copied.
    painted = ""
    position = 0
    for (start, end), header in zip(spans, headers, strict=True):
        cell = line[start:end]
        colour = _code(header, cell.strip())
        painted += line[position:start] + (paint(cell, colour) if colour else cell)
        position = end
    return painted + line[position:]


def _code(header: str, cell: str) -> str:
    """Return the colour of a cell; '' for none."""
    if header == "verdict":
        return VERDICTS.get(cell.partition(",")[0], "")
    if header == "notes":
        return next((colour for word, colour in STATUSES.items() if word in cell), "")
    return YELLOW if cell.endswith("!") else ""
