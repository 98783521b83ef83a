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
    of_runs = set()
    of_paper = set()

    # Many rows are alike in these columns: each combination is looked at once.
    columns = ("row", "column", "key", "signature", "paper_signature")
    for row, column, key, our_signature, papers_signature in set(
        zip(*(rows[name] for name in columns), strict=True)
    ):
        if (row, column) in trained:
            protocol = Protocol(our_signature)
            # Numbers on other data than the run's own are in no row.
            own = "" if protocol.of_other_data else protocol.data
            # If a run has no measures, only its key names its data.
            of_runs.add(own or key.partition("-")[0])
            of_paper.add(Protocol(papers_signature).data)

    # Only rows of the printed measure have the paper's protocol, and files of earlier versions have
    # none. If no row has it, the paper's data are not known, and the table stays as it is.
    of_paper.discard("")
    if not of_runs or not of_paper or of_runs & of_paper:
        return table, ""

    # Rows with an empty list of columns are those of the literature.
    without_printed = {
        name: replace(row, published={}, spread={}, diverges=False)
        for name, row in table.rows.items()
        if row.columns is None or row.columns
    }

    note = (
        f"data: {' and '.join(sorted(of_runs))}, not the paper's {' and '.join(sorted(of_paper))}: "
        "its numbers, its margin and its ledger say nothing of these and are left out; vaebench "
        f"show table={table.name} has them."
    )
    return replace(table, rows=without_printed, ledger=(), notes=()), note
