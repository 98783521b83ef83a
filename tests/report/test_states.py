"""The state of a table entry: reproduced, missed, not run and so on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vaebench.config import catalogue
from vaebench.report import recorded, states
from vaebench.report.states import State
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, ReportRow, summarize


def row(verdict="-", n=3, label="", **more):
    ours = SimpleNamespace(n=n) if n else None
    return ReportRow("r", "c", ours=ours, verdict=verdict, label=label, **more)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (row("yes"), State.REPRODUCED),
        (row("yes, 3 of 5 seeds"), State.REPRODUCED),
        (row("better"), State.BETTER),
        (row("no"), State.MISSED),
        (row("unclear"), State.UNCLEAR),
        (row("-"), State.UNCLEAR),
        (row("n=1", n=1), State.ONE_SEED),
        (row("yes, short", label="short"), State.OTHER),
        (row("no, tuned", label="tuned"), State.OTHER),
        (row("-", of_paper=False, comparable=False), State.OTHER),
        (row("-", comparable=False), State.UNCLEAR),  # flagged, or a time
        (row("-", n=1, comparable=False), State.UNCLEAR),
        (row("-", n=0), State.NOT_RUN),
        (row("-", n=0, label="short"), State.NOT_RUN),
        (row(DIVERGED, n=0), State.REPRODUCED),
        (row(NOT_DIVERGED), State.MISSED),
    ],
)
def test_the_state_of_an_entry(found, wanted):
    assert states.state(found) is wanted


def test_the_best_preset_decides_and_every_trained_entry_has_a_state():
    table = catalogue.load("nvil_recipe")
    frame = recorded.shipped_frame(table)

    by_entry = states.states(table, summarize(table, frame))

    assert list(by_entry) == table.trained()
    assert by_entry["SBN 200-200", "equal"] is State.ONE_SEED  # by paper; short stands beside it
    assert sum(states.counts(by_entry).values()) == len(table.trained())
