"""The short table of a drawn figure as a page: title, grid, notes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from html import escape

from vaebench.config.cells import Table
from vaebench.report import latex, markdown
from vaebench.report.drawn.base import Drawing, Point
from vaebench.report.text import WIDTH
from vaebench.report.webpage import STYLE


def text(table: Table, drawing: Drawing, points: list[Point]) -> str:
    """Plain text, no colour."""
    grid = "\n".join(line.rstrip() for line in _grid(drawing, points, "simple").splitlines())
    notes = (textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in _notes(table, drawing))
    return "\n\n".join([_title(table), grid, "\n".join(notes)]) + "\n"


def md(table: Table, drawing: Drawing, points: list[Point]) -> str:
    """A Markdown pipe table."""
    notes = "\n".join(f"- {markdown.escape(note)}" for note in _notes(table, drawing))
    return "\n\n".join([f"**{markdown.escape(_title(table))}**", _grid(drawing, points, "pipe"), notes]) + "\n"


def tex(table: Table, drawing: Drawing, points: list[Point]) -> str:
    """A LaTeX table float for the booktabs package."""
    lines = [
        *(r"\begin{table}", r"\centering", rf"\caption{{{latex.escape(_title(table))}}}"),
        *(_grid(drawing, points, "latex_booktabs"), "", r"\raggedright\footnotesize"),
        *(f"{latex.escape(note)}\\par" for note in _notes(table, drawing)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html(table: Table, drawing: Drawing, points: list[Point]) -> str:
    """One page without scripts or outside files."""
    title = escape(_title(table))
    lines = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>',
        *(f"<h1>{title}</h1>", _grid(drawing, points, "html"), "<ul>"),
        *(f"<li>{escape(note)}</li>" for note in _notes(table, drawing)),
        "</ul></body></html>",
    ]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Table, Drawing, list[Point]], str]] = {"text": text, "md": md, "latex": tex, "html": html}


def _title(table: Table) -> str:
    return f"{table.title} ({table.where}, {table.paper})"


def _grid(drawing: Drawing, points: list[Point], format: str) -> str:
    from tabulate import tabulate

    headers, lines = drawing.grid(points)
    sides = ["left" if i < drawing.words else "right" for i in range(len(headers))]
    return tabulate(lines, headers, tablefmt=format, disable_numparse=True, colalign=sides)


def _notes(table: Table, drawing: Drawing) -> list[str]:
    notes = [*drawing.notes, *table.notes]
    if table.ledger:
        notes.append(f"where the paper is silent or differs (vaebench show table={table.name} says why):")
        notes += [f"{entry.topic}: {entry.here}" for entry in table.ledger]
    return notes
