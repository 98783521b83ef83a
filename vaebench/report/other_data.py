"""Results on other data than the table's.

What the paper printed and chose does not apply to them, so it is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vaebench.config.tables import Table
from vaebench.protocol.protocol import Protocol

if TYPE_CHECKING:
    import pandas as pd


def shown_beside(table: Table, frame: pd.DataFrame) -> tuple[Table, str]:
    """Return the table as it is shown with these results, and a note on what was left out.

    If every result is of other data than the paper's, the table has no published numbers, no
    literature, no ledger and no notes. If some are of the paper's data, the table is unchanged and
    the note is empty.
    """
    rows = frame[frame["table"] == table.name]
    if not len(rows) or rows["paper_protocol"].any():
        return table, ""

    trained = set(table.trained())
    found = set()
    papers = set()
    columns = ("row", "column", "key", "signature", "paper_signature")
    for row, column, key, ours, paper in set(zip(*(rows[name] for name in columns), strict=True)):
        if (row, column) in trained:
            # If a run has no measures, only its key names its data.
            found.add(Protocol(ours).data or key.partition("-")[0])
            papers.add(Protocol(paper).data)

    papers.discard("")
    if not found or not papers or found & papers:
        return table, ""

    bare = {
        name: replace(row, published={}, spread={}, diverges=False)
        for name, row in table.rows.items()
        if row.columns is None or row.columns
    }

    note = (
        f"data: {' and '.join(sorted(found))}, not the paper's {' and '.join(sorted(papers))}: "
        "its numbers, its margin and its ledger say nothing of these and are left out; vaebench "
        f"show table={table.name} has them."
    )
    return replace(table, rows=bare, ledger=(), notes=()), note
