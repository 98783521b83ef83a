"""Figures that are functions of formulas alone: no data, no training; a table names one with ``drawn: NAME``.

To add one: a file here with a ``Drawing``, an entry of ``FIGURES``. Nothing heavy is imported until it is drawn.
"""

from __future__ import annotations

import csv
import io

from vaebench.config.cells import Table
from vaebench.errors import UserError, nearest
from vaebench.report.drawn.base import Drawing, Point
from vaebench.report.drawn.smoothing import SMOOTHING

FIGURES: dict[str, Drawing] = {"smoothing": SMOOTHING}


def drawing(table: Table) -> Drawing:
    """The drawing that a table names. Raises UserError for a name that is not in FIGURES."""
    if table.drawn not in FIGURES:
        raise UserError(f"table {table.name}: drawn: unknown figure {table.drawn!r}: {nearest(table.drawn, FIGURES)}")
    return FIGURES[table.drawn]


def points(table: Table) -> list[Point]:
    """Everything that the figure shows."""
    return drawing(table).points()


def csv_text(points: list[Point]) -> str:
    """The points as CSV, one line each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(points[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    return text.getvalue()


def image(table: Table, points: list[Point], kind: str) -> bytes:
    """The figure as an image file, ``kind`` one of ``vaebench.report.images.SUFFIXES``."""
    from matplotlib.figure import Figure

    from vaebench.report.images import encode

    figure = Figure(layout="constrained")
    drawing(table).draw(figure, points)
    figure.suptitle(f"{table.title} ({table.where})")
    return encode(figure, kind)


def render(table: Table, points: list[Point], format: str = "text") -> str:
    """The short table of a figure as text, md, latex or html; as csv all its points. UserError for another format."""
    from vaebench.report.drawn import pages

    if format == "csv":
        return csv_text(points)
    if format not in pages.WRITERS:
        raise UserError(f"unknown format {format!r}: {nearest(format, [*pages.WRITERS, 'csv'])}")
    return pages.WRITERS[format](table, drawing(table), points)
