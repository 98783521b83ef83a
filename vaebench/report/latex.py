"""The report as a LaTeX table for the booktabs package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.report.layout import View, lay_out
from vaebench.report.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "[": "{[}",  # at the start of a table row a bare bracket would be the option of the line break before it
        "]": "{]}",
        **{c: f"\\{c}" for c in "{}$&#_%"},
    }
)


def render(table: Table, frame: pd.DataFrame, view: View | None = None) -> str:
    r"""A table float; ``\usepackage{booktabs}`` is all it needs."""
    layout = lay_out(table, summarize(table, frame), view)
    columns = "".join("r" if side == "right" else "l" for side in layout.alignment)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(layout.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(layout.headers),
        r"\midrule",
        *(_line(cells) for cells in layout.cells),
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\raggedright\footnotesize",
        *(f"{escape(note)}\\par" for note in layout.footnotes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return " & ".join(_cell(c) for c in cells) + r" \\"


def _cell(text: str) -> str:
    """A signed number in math mode, so that its minus is one; all else escaped."""
    return f"${text}$" if re.fullmatch(r"[+-]\d+(\.\d+)?", text) else escape(text)


def escape(text: str) -> str:
    """Text in which LaTeX's special characters stand for themselves."""
    return " ".join(text.split()).translate(ESCAPES)
