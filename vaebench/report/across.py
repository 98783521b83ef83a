"""The report of a table whose columns are measures of the same runs.

It has one line for each row, as in print.
"""

from __future__ import annotations

from itertools import groupby

from vaebench.config.tables import Table
from vaebench.protocol.registry import heading, is_descriptive, is_timing
from vaebench.report import cells
from vaebench.report.summary import NOT_TRAINED, ReportRow

LEAST = 3
"""Least number of columns; if there are fewer, each entry has a line of its own."""


def fits(table: Table) -> bool:
    """Whether no column changes what is trained or how it is evaluated."""
    return len(table.columns) >= LEAST and not any(column.set for column in table.columns.values())


def legend(table: Table, unit: str) -> str:
    """Return the meaning of the columns."""
    measures = {c: table.measure_of(c) for c in table.columns}
    judged = [c for c, m in measures.items() if not (is_descriptive(m) or is_timing(m))]

    # A column that is named after its measure needs no explanation.
    named = ", ".join(f"{c}: {heading(m)}" for c, m in measures.items() if c != heading(m))
    brackets = (
        f", the published number in brackets; verdicts are of {', '.join(judged)}"
        if table.printed
        else ""
    )

    return (
        f"{named}{'; ' if named else ''}means over seeds in {unit}{brackets}. Lower is better in "
        f"{', '.join(judged)}."
    )


def records(
    table: Table, rows: list[ReportRow], marks: dict[str, int]
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return a line for every row and setting, header -> text, and the headers that always stay.

    These headers are shown even if nothing is below them. A cell has the measured number and, in
    brackets, the published one.
    """
    samples = cells.one_samples(rows)

    # A paper may print columns that the table does not train. Metrics that stand beside the measure
    # get columns behind these, unless the table has a column of that name.
    columns = list(dict.fromkeys([*table.columns, *(r.column for r in rows)]))
    shown = {
        header: ""
        for r in rows
        for header, text in cells.beside(r, samples).items()
        if text and header not in columns
    }

    lines = []
    for entries in _lines(rows):
        by_column = {r.column: r for r in entries}
        beside = {
            header: text
            for r in entries
            for header, text in cells.beside(r, samples).items()
            if text
        }

        # All entries of a line are of the same runs, so one of them has the cost for all.
        representative = next((r for r in entries if r.ours), entries[0])

        # Entries often have the same notes; each is shown once.
        notes = dict.fromkeys(words for r in entries if (words := cells.notes(r, marks)))

        lines.append(
            {
                "row": representative.row,
                "preset": representative.preset,
                "key": representative.key or next((r.key for r in entries if r.key), ""),
                **{
                    c: _cell(table, by_column[c]) if c in by_column else beside.get(c, "")
                    for c in columns
                },
                "seeds": "/".join(dict.fromkeys(str(r.n) for r in entries if r.n)),
                "verdict": _verdict(entries),
                **{header: beside.get(header, "") for header in shown},
                **cells.cost(representative),
                "notes": "; ".join(notes),
            }
        )

    return lines, ("row", "verdict") if table.printed else ("row",)


def _lines(rows: list[ReportRow]) -> list[list[ReportRow]]:
    """Group the entries into lines: those of one row and the same runs.

    An entry without runs joins the first line of its row.
    """
    # The entries of a row stand next to each other, as ``groupby`` needs it.
    all_lines = []
    for _, of_row in groupby(rows, key=lambda r: r.row):
        lines_of_row: dict[tuple[str, str, str], list[ReportRow]] = {}
        without_runs: list[ReportRow] = []
        for r in of_row:
            (
                lines_of_row.setdefault((r.preset, r.label, r.key), []) if r.key else without_runs
            ).append(r)

        first_line, *other_lines = lines_of_row.values() or [[]]
        all_lines += [first_line + without_runs, *other_lines]
    return all_lines


def _cell(table: Table, row: ReportRow | None) -> str:
    if row is None:
        return ""
    published = cells.published(table, row)
    number = cells.number(row.ours) or cells.lost(row, row.measure)
    return " ".join(p for p in (number, f"({published})" if published else "") if p)


def _verdict(entries: list[ReportRow]) -> str:
    """Return the verdict of a line.

    If its columns have different verdicts, each is preceded by the name of its column. If the row
    is trained for any column, columns that are only printed do not count.
    """
    # A "-" counts if a number was measured that could have a verdict: not that of an entry without
    # runs, nor that of a description of the model, such as a KL.
    trained = [r for r in entries if r.verdict != NOT_TRAINED] or entries
    judged = [r for r in trained if r.verdict != "-" or (r.ours and not is_descriptive(r.measure))]
    verdict_of_column = {r.column: r.verdict for r in judged}
    if len(set(verdict_of_column.values())) <= 1:
        return next(iter(verdict_of_column.values()), "-")
    return "; ".join(f"{column} {verdict}" for column, verdict in verdict_of_column.items())
