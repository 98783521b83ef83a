"""A table and its results as text, Markdown, LaTeX, HTML or CSV; figures.

Comparison of two sets of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from vaebench.config.tables import Table
    from vaebench.report.page import Page
    from vaebench.report.shown import Shown

FORMATS = ("text", "md", "csv", "latex", "html")


def render(table: Table, frame: pd.DataFrame, format: str = "text", brief: bool = False) -> str:
    """The report of one table.

    Args:
        table: What the paper printed.
        frame: The results, in the long format (``Store.frame`` or ``read_csv``).
        format: One of FORMATS; see ``written``.
        brief: See ``Look``.

    Raises:
        UserError: For an unknown format.
    """
    from vaebench.report.shown import Measured

    return written([Measured(table, frame)], format, Look(brief=brief))


@dataclass(frozen=True)
class Look:
    """How a page is shown.

    Attributes:
        brief: The entries with runs and what their marks stand for, without the other notes; in
            text a short line each.
        width: Characters of the terminal, for text; None for lines as long as they are.
        colour: Text in colour.
        curves: With the validation curve of each entry, where it is known.
    """

    brief: bool = False
    width: int | None = None
    colour: bool = False
    curves: bool = False


def written(shown: Sequence[Shown], format: str = "text", look: Look = Look()) -> str:
    """Tables and figures in one format.

    Args:
        shown: One or more of them.
        format: ``csv`` is the results themselves, one line per (cell, seed, metric), which
            ``compare`` reads. The other formats are pages, aggregated over seeds. A note stands on
            the first page that needs it.
        look: How they are shown.

    Raises:
        UserError: For an unknown format.
    """
    from vaebench.report.page import said_once
    from vaebench.report.shown import results_text

    check_format(format)
    if format == "csv":
        return results_text(shown)

    pages = said_once(s.page(look.brief, look.curves) for s in shown)
    return "\n\n".join(_written(page, format, look).rstrip("\n") for page in pages) + "\n"


def check_format(format: str) -> None:
    """Raises UserError unless it is one of FORMATS."""
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}: {nearest(format, FORMATS)}")


def _written(page: Page, format: str, look: Look) -> str:
    from vaebench.report import latex, markdown, text, webpage

    if format == "text":
        narrow = replace(page, grid=page.grid.narrow()) if look.brief else page
        return text.write(narrow, look.width, look.colour)
    return {"md": markdown.write, "latex": latex.write, "html": webpage.write}[format](page)
