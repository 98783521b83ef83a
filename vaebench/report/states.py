"""The progress of a table: one state for each entry that is trained here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from vaebench.config.tables import Table
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, ReportRow


class State(StrEnum):
    """What is known of one entry of a table. Of several that apply, the first one counts."""

    REPRODUCED = "reproduced"
    BETTER = "better than print"
    MISSED = "missed"
    UNCLEAR = "no verdict"
    ONE_SEED = "one seed"
    OTHER = "other recipe or data"
    NOT_RUN = "not run"


MEANING: Mapping[State, str] = {
    State.REPRODUCED: (
        "trained by preset=paper and measured as in the paper, several seeds: within the margin, "
        "or diverged as the paper's did"
    ),
    State.BETTER: "the same, but lower than the published value by more than the margin",
    State.MISSED: "the same, but higher than the published value by more than the margin",
    State.UNCLEAR: (
        "the same, but the seeds scatter too much, the number is flagged, nothing is printed, or "
        "it is a time or a description of the model, such as a KL, which have no verdict"
    ),
    State.ONE_SEED: "the same with one seed: too few for a verdict",
    State.OTHER: "run with a shorter budget, other settings or other data only",
    State.NOT_RUN: "no result yet",
}
"""The states in words."""


def states(table: Table, rows: Iterable[ReportRow]) -> dict[tuple[str, str], State]:
    """Return (row, column) -> state of each entry trained here, in the order of the table."""
    by_entry: dict[tuple[str, str], list[State]] = {entry: [] for entry in table.trained()}
    for row in rows:
        if (row.row, row.column) in by_entry:
            by_entry[row.row, row.column].append(state(row))

    # An entry has a state for each preset at which it was run; the first of ``State`` counts.
    order = list(State)
    return {
        entry: min(states_of_entry, key=order.index, default=State.NOT_RUN)
        for entry, states_of_entry in by_entry.items()
    }


def state(row: ReportRow) -> State:
    """Return the state of one entry at one preset."""
    word = row.verdict.partition(",")[0]

    # A run that diverged has no number, so it counts as a result by its verdict.
    if row.label or not row.of_paper:
        return State.OTHER if row.n or word in (DIVERGED, NOT_DIVERGED) else State.NOT_RUN

    if word in ("yes", DIVERGED):
        return State.REPRODUCED
    if word == "better":
        return State.BETTER
    if word in ("no", NOT_DIVERGED):
        return State.MISSED
    if row.n == 1 and row.comparable:
        return State.ONE_SEED
    return State.UNCLEAR if row.n else State.NOT_RUN


def counts(found: Mapping[tuple[str, str], State]) -> dict[State, int]:
    """Count the entries in each state; states without entries are there too."""
    numbers = dict.fromkeys(State, 0)
    for entry_state in found.values():
        numbers[entry_state] += 1
    return numbers
