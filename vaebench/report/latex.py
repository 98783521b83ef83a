"""A page as a LaTeX table for the booktabs package."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaebench.report.page import Grid, Page

ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        # At the beginning of a table row a bare bracket would be read as the option of the line
        # break before it.
        "[": "{[}",
        "]": "{]}",
        **{c: f"\\{c}" for c in "{}$&#_%"},
    }
)


def write(page: Page) -> str:
    r"""Write a table float; it only needs ``\usepackage{booktabs}``."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(page.title)}}}",
        *_tabular(page.grid),
    ]
    for section in page.sections:
        lines += ["", r"\bigskip", *_tabular(section.grid), "", escape(section.sentence)]

    notes = [f"{escape(note)}\\par" for note in page.footnotes]
    return "\n".join([*lines, "", r"\raggedright\footnotesize", *notes, r"\end{table}"]) + "\n"


def _tabular(grid: Grid) -> list[str]:
    columns = "".join(side[0] for side in grid.sides)
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(grid.headers),
        r"\midrule",
        *(_line(cells) for cells in grid.lines),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(map(_cell, cells)) + r" \\"


def _cell(text: str) -> str:
    """Write a signed number in math mode, so that its minus is a real one; escape all else."""
    return f"${text}$" if re.fullmatch(r"[+-]\d+(\.\d+)?", text) else escape(text)


def escape(text: str) -> str:
    """Return text in which LaTeX's special characters stand for themselves."""
    return " ".join(text.split()).translate(ESCAPES)
