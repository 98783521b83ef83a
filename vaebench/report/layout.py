"""The report as headers, cells and footnotes in plain text: what every format writes, each with its own escapes."""

from __future__ import annotations

from dataclasses import dataclass, field

from vaebench.config.cells import Table
from vaebench.report import across, cells
from vaebench.report.footnotes import footnotes
from vaebench.report.summary import ReportRow

LEFT = ("row", "column", "preset", "verdict", "device", "notes")
"""Columns of words; all others are numbers and stand to the right."""


@dataclass(frozen=True)
class View:
    """What of a report is shown, and how wide.

    ``brief``: of the notes only those that the table's marks name, and ``above``. ``above``: notes that always stand
    there. ``said``: notes that an earlier page of the same report has; a page adds its own. ``width``: characters of
    the terminal; None: lines are as long as they are.
    """

    brief: bool = False
    width: int | None = None
    above: tuple[str, ...] = ()
    said: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Layout:
    """A title, a grid of text and the notes under it."""

    title: str
    headers: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...]

    @property
    def alignment(self) -> tuple[str, ...]:
        """``left`` or ``right`` for every column."""
        return tuple("left" if h in LEFT else "right" for h in self.headers)


def lay_out(table: Table, rows: list[ReportRow], view: View | None = None) -> Layout:
    """The grid of a summary. Columns that are empty throughout are left out, except those of the verdict.

    Where nothing is published there is no verdict, and so no column of it.

    Where the table's columns are measures of the same runs a row is one line, as in print; else every entry is one.
    """
    view = view or View()
    marks: dict[str, int] = {}
    for row in rows:
        for note in row.footnotes:
            marks.setdefault(note, len(marks) + 1)
    records, keep = (across.records if across.fits(table) else _records)(table, rows, marks)
    several = len({r.preset for r in rows if r.preset}) > 1
    unasked = ("preset",) if table.printed else ("preset", "verdict")
    headers = [
        h
        for h in (records[0] if records else keep)
        if h in keep or (h == "preset" and several) or (h not in unasked and any(r[h] for r in records))
    ]
    return Layout(
        title=f"{table.title} ({table.where}, {table.paper})",
        headers=tuple(headers),
        cells=tuple(tuple(r[h] for h in headers) for r in records),
        footnotes=(*view.above, *(f"[{i}] {note}" for note, i in marks.items()), *_unsaid(table, rows, view)),
    )


def _unsaid(table: Table, rows: list[ReportRow], view: View) -> list[str]:
    """The notes below the marks, each once; none in a brief report."""
    if view.brief:
        return []
    new = [note for note in dict.fromkeys(footnotes(table, rows)) if note not in view.said]
    view.said.update(new)
    return new


def _records(
    table: Table, rows: list[ReportRow], marks: dict[str, int]
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A line for every row and column, header -> text, and the headers that stay whatever is below them."""
    samples = cells.one_samples(rows)
    records = [
        {
            "row": row.row,
            "column": row.column,
            "preset": row.preset,
            "published": cells.published(table, row),
            "ours": cells.number(row.ours) or cells.lost(row, row.measure),
            "seeds": str(row.n) if row.n else "",
            "difference": cells.difference(row),
            "verdict": row.verdict,
            **cells.beside(row, samples),
            **cells.cost(row),
            "notes": cells.notes(row, marks),
        }
        for row in rows
    ]
    return records, ("row", "column", *(("published", "ours", "difference", "verdict") if table.printed else ("ours",)))
