"""Reports: a table and its results as text, Markdown, LaTeX, HTML or CSV, and figures.

The comparison of two sets of results is here too.
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
    """Return the report of one table.

    Args:
        table: The table, with what the paper printed.
        frame: The results, in the long format (``Store.frame`` or ``read_csv``).
        format: One of FORMATS; see ``written``.
        brief: See ``Look``.

    Raises:
        UserError: If the format is unknown.
    """
    from vaebench.report.shown import Measured

    return written([Measured(table, frame)], format, Look(brief=brief))


@dataclass(frozen=True)
class Look:
    """How a page is shown.

    Attributes:
        brief: Only entries with runs, the meaning of their marks, and no other notes; in text a
            short line each.
        width: Characters of the terminal, for text; None for lines of any length.
        colour: Whether text has colours.
        curves: Whether the validation curve of each entry is shown, if it is known.
    """

    brief: bool = False
    width: int | None = None
    colour: bool = False
    curves: bool = False


def written(shown: Sequence[Shown], format: str = "text", look: Look = Look()) -> str:
    """Return tables and figures in one format.

    Args:
        shown: One or more tables or figures.
        format: ``csv`` is the results themselves, one line for each (cell, seed, metric), which
            ``compare`` reads. The other formats are pages, aggregated over seeds. A note is on
            the first page that needs it, and only there.
        look: How they are shown.

    Raises:
        UserError: If the format is unknown.
    """
    from vaebench.report.page import said_once
    from vaebench.report.shown import results_text

    check_format(format)
    if format == "csv":
        return results_text(shown)

    pages = said_once(s.page(look.brief, look.curves) for s in shown)
    return "\n\n".join(_written(page, format, look).rstrip("\n") for page in pages) + "\n"


def check_format(format: str) -> None:
    """Raise UserError unless ``format`` is one of FORMATS."""
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}: {nearest(format, FORMATS)}")


def _written(page: Page, format: str, look: Look) -> str:
    from vaebench.report import latex, markdown, text, webpage

    if format == "text":
        narrow = replace(page, grid=page.grid.narrow()) if look.brief else page
        return text.write(narrow, look.width, look.colour)
    return {"md": markdown.write, "latex": latex.write, "html": webpage.write}[format](page)
