"""The page of a table: measured numbers beside printed ones."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from vaebench.config.tables import Table
from vaebench.report import across, cells
from vaebench.report.footnotes import footnotes
from vaebench.report.other_data import shown_beside
from vaebench.report.page import Grid, Page
from vaebench.report.ranking import rank
from vaebench.report.summary import NOT_RUN, ReportRow, summarize
from vaebench.report.trails import LEGEND, Trails, drawn

if TYPE_CHECKING:
    import pandas as pd

LEFT = ("row", "column", "preset", "verdict", "device", "curve", "notes")
"""Columns of words; all others are numbers and aligned to the right."""

LEADING = ("row", "column", "preset")
"""Columns that name a line."""


MAIN = (*LEADING, "published", "ours", "difference", "verdict", "curve", "notes")
"""Columns of a narrow grid, besides those that are the table's own."""

FEW = 3
"""Most entries without runs that a brief page names; of further ones only the number is."""


def make(
    table: Table,
    frame: pd.DataFrame,
    brief: bool = False,
    trails: Trails = MappingProxyType({}),
    summary: list[ReportRow] | None = None,
) -> Page:
    """Return the page of a table.

    Args:
        table: The table, with what the paper printed. The printed part is left out if all results
            are of other data.
        frame: The results, in the long format.
        brief: The page for a quick look at running work: only entries with runs, a line each, their
            status and the meaning of their marks.
        trails: Validation curves of the runs.
        summary: What ``summarize`` returns for the two, if the caller has it.
    """
    shown_table, of_other_data = shown_beside(table, frame)
    rows = (
        summary if summary is not None and shown_table is table else summarize(shown_table, frame)
    )
    table = shown_table

    without_runs = ""
    if brief:
        rows, without_runs = _with_runs(rows, by_row=across.fits(table))

    # Note on a row -> its number in the grid; equal notes of several rows share one.
    marks = {
        note: i
        for i, note in enumerate(dict.fromkeys(n for row in rows for n in row.footnotes), start=1)
    }

    above = [text for text in (without_runs, of_other_data) if text]
    return Page(
        title=table.caption,
        grid=grid(table, rows, marks, trails),
        sections=() if brief else tuple(ranking.section() for ranking in rank(rows)),
        marks=(*above, *(f"[{i}] {note}" for note, i in marks.items())),
        notes=()
        if brief
        else tuple(dict.fromkeys((*footnotes(table, rows), *([LEGEND] if trails else [])))),
    )


def _with_runs(rows: list[ReportRow], by_row: bool) -> tuple[list[ReportRow], str]:
    """Return the rows that have runs, and a sentence that names the entries without runs.

    All rows are returned if none has runs. With ``by_row`` rows are named without their columns.
    """
    with_runs = [row for row in rows if row.key]
    if not with_runs:
        return rows, ""

    names = (
        row.row if by_row else f"{row.row} / {row.column}" for row in rows if row.status == NOT_RUN
    )
    missing = list(dict.fromkeys(names))
    further = f"; and {len(missing) - FEW} more" if len(missing) > FEW else ""
    return with_runs, f"not run: {'; '.join(missing[:FEW])}{further}" if missing else ""


def grid(
    table: Table,
    rows: list[ReportRow],
    marks: dict[str, int],
    trails: Trails = MappingProxyType({}),
) -> Grid:
    """Return the rows of a summary as text.

    If the table's columns are measures of the same runs, a row is one line, as in print; else every
    entry is a line. Columns that are empty throughout are left out, except those of the verdict.
    Tables without published numbers have no verdict column.
    """
    records, always_shown = (across.records if across.fits(table) else _records)(table, rows, marks)

    # Removing and adding again puts ``notes`` last, behind the curve.
    for record in records:
        trail = trails.get(record.pop("key"))
        notes = record.pop("notes")
        record |= {"curve": drawn(trail) if trail else "", "notes": notes}

    several_presets = len({r.preset for r in rows if r.preset}) > 1

    # The preset is only shown if rows differ in it. Verdicts need published numbers, and are then
    # among the headers that always stay.
    never_for_content = ("preset",) if table.printed else ("preset", "verdict")

    def shown(header: str) -> bool:
        if header in always_shown or (header == "preset" and several_presets):
            return True
        return header not in never_for_content and any(record[header] for record in records)

    headers = tuple(filter(shown, records[0] if records else always_shown))
    return Grid(
        headers=headers,
        lines=tuple(tuple(record[h] for h in headers) for record in records),
        sides=tuple("left" if h in LEFT else "right" for h in headers),
        leading=sum(h in LEADING for h in headers),
        more=tuple(h for h in headers if h not in (*MAIN, *table.columns)),
    )


def _records(
    table: Table, rows: list[ReportRow], marks: dict[str, int]
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return a line for every row and column, header -> text, and the headers that always stay.

    These headers are shown even if nothing is below them.
    """
    samples = cells.one_samples(rows)
    records = [
        {
            "row": row.row,
            "column": row.column,
            "preset": row.preset,
            "key": row.key,
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
    return records, (
        "row",
        "column",
        *(("published", "ours", "difference", "verdict") if table.printed else ("ours",)),
    )
