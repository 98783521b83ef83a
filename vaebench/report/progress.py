"""The progress of the tables: the states of their entries with a published value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vaebench.config import catalogue
from vaebench.config.tables import Table
from vaebench.report import recorded
from vaebench.report.states import State, counts, states
from vaebench.report.summary import summarize


class Progress(NamedTuple):
    """How many entries of a table are in each state.

    Only entries that this table trains and that have a published value are counted.

    Attributes:
        name: Name of the table.
        counts: State -> number of entries; all states are there.
    """

    name: str
    counts: dict[State, int]

    @property
    def total(self) -> int:
        """Number of entries that are counted."""
        return sum(self.counts.values())


def published(table: Table) -> list[tuple[str, str]]:
    """Return (row, column) of the entries to count.

    The table trains them itself, and the paper prints a number for them, or that its run diverged.
    """
    return [
        (row, column)
        for row, column in table.trained()
        if (row, column) not in table.links
        and (table.rows[row].diverges or table.rows[row].published.get(column) is not None)
    ]


def of_shipped() -> list[Progress]:
    """Return the progress of every table with published values, by the shipped results."""
    parts = []
    for name in catalogue.options("table"):
        table = catalogue.load(name)
        entries = published(table) if isinstance(table, Table) else []
        if isinstance(table, Table) and entries:
            # The states of all entries; those that have no published value are not counted.
            by_entry = states(table, summarize(table, recorded.shipped_frame(table)))
            parts.append(Progress(name, counts({entry: by_entry[entry] for entry in entries})))
    return parts


def totals(parts: Iterable[Progress]) -> Progress:
    """Return the progress of all tables together."""
    summed = Counter[State]()
    for part in parts:
        summed.update(part.counts)
    return Progress("all tables", {state: summed[state] for state in State})


def lines(parts: Iterable[Progress]) -> list[tuple[str, ...]]:
    """Return a header, a line for each table and one for all together."""
    listed = list(parts)
    head = ("table", "values", *(str(state) for state in State))
    return [head, *(_line(part) for part in (*listed, totals(listed)))]


def _line(table_progress: Progress) -> tuple[str, ...]:
    return (
        table_progress.name,
        str(table_progress.total),
        *(str(table_progress.counts[state] or "") for state in State),
    )


def sentence(counted: Mapping[State, int]) -> str:
    """Return ``Of 508 entries with a published value: reproduced 3, missed 3, ...``.

    States without entries are left out.
    """
    total = sum(counted.values())
    parts = [f"{state} {number}" for state, number in counted.items() if number]
    return f"Of {total} entries with a published value: {', '.join(parts)}."
