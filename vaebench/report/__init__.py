"""A table and its results as text, Markdown, LaTeX, HTML or CSV; figures; comparison of two sets of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from vaebench.config.cells import Table
    from vaebench.report.layout import View

FORMATS = ("text", "md", "csv", "latex", "html")


def render(table: Table, frame: pd.DataFrame, format: str = "text", view: View | None = None) -> str:
    """The report of a table from the long frame (``Store.frame`` or ``read_csv``).

    ``csv`` is the long frame itself, one row per (cell, seed, metric): what ``compare`` reads. The other formats are
    aggregated over seeds, and leave out what the paper printed where the results are of other data. ``view`` says how
    much is shown. UserError for an unknown format.
    """
    from dataclasses import replace

    from vaebench.report import latex, markdown, text, webpage
    from vaebench.report.layout import View
    from vaebench.report.other_data import shown_beside
    from vaebench.results import store

    writers = {"text": text.render, "md": markdown.render, "latex": latex.render, "html": webpage.render}
    if format == "csv":
        return store.csv_text(frame)
    if format not in writers:
        raise UserError(f"unknown format {format!r}: {nearest(format, FORMATS)}")
    view, (shown, note) = view or View(), shown_beside(table, frame)
    return writers[format](shown, frame, replace(view, above=(*view.above, note)) if note else view)
