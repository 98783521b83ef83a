"""Colours of a page on a terminal, laid over the text when it stands.

They change no character and no width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
YELLOW = "33"
"""Codes of ANSI terminals."""

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
"""The first words of a verdict."""

STATUSES = {
    "failed": RED,
    "diverged": RED,
    "without a number": RED,
    "partial": YELLOW,
    "trained": YELLOW,
    "not run": DIM,
}
"""Words of the column of notes, the strongest first."""


def paint(text: str, code: str) -> str:
    """A text in a colour; blanks around it stay as they are."""
    inner = text.strip()
    return text.replace(inner, f"\033[{code}m{inner}\033[0m", 1) if inner else text


def grid(text: str, headers: Sequence[str]) -> str:
    """The lines of a ruled grid, in colour.

    Coloured are headers, verdicts, states and flagged numbers.
    """
    head, rule, *lines = text.split("\n")
    spans = [match.span() for match in re.finditer("-+", rule)]
    painted = [_line(line, spans, headers) for line in lines]
    return "\n".join([paint(head, BOLD), rule, *painted])


def _line(line: str, spans: Sequence[tuple[int, int]], headers: Sequence[str]) -> str:
    out = ""
    at = 0
    for (first, last), header in zip(spans, headers, strict=True):
        cell = line[first:last]
        code = _code(header, cell.strip())
        out += line[at:first] + (paint(cell, code) if code else cell)
        at = last
    return out + line[at:]


def _code(header: str, cell: str) -> str:
    """The colour of a cell; empty: none."""
    if header == "verdict":
        return VERDICTS.get(cell.partition(",")[0], "")
    if header == "notes":
        return next((code for word, code in STATUSES.items() if word in cell), "")
    return YELLOW if cell.endswith("!") else ""
