"""Rankings of all entries by one measure: which rows they hold, and which they must not compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaebench.config.tables import Row
from vaebench.report.ranking import rank
from vaebench.report.summary import summarize


@pytest.fixture
def ranked(table, frame):
    """A function from entries to the rankings of the table's rows."""
    return lambda *entries, of=table: rank(summarize(of, frame(*entries)))


def test_entries_are_ranked_as_published_and_as_measured(ranked, entry):
    entries = [
        entry("SBN 200", [114.0]),
        entry("SBN 200", [119.0], column="WS"),
        entry("SBN 500", [115.0]),  # published below SBN 200, measured above
    ]

    # Two entries are too few.
    assert ranked(*entries[:2]) == ()

    (ranking,) = ranked(*entries)
    assert [(e.name, e.published_rank, e.our_rank) for e in ranking.entries] == [
        ("SBN 500 / NVIL", 1, 2),
        ("SBN 200 / NVIL", 2, 1),
        ("SBN 200 / WS", 3, 3),
    ]
    # Of three pairs two are in the same order: (2 - 1) / 3.
    assert ranking.tau == pytest.approx(1 / 3)
    assert [e.n for e in ranking.entries] == [1, 1, 1]
    assert (
        "orders of bound, mnist_static, test: 0.33 (3 entries; 1: the same order); one seed each"
        in ranking.sentence()
    )

    # The note names entries of one seed.
    two_seeds = [entry(e[0]["row"], [e[0]["value"]] * 2, column=e[0]["column"]) for e in entries]
    assert ranked(*two_seeds)[0].sentence().endswith("1: the same order)")
    assert "one seed for 1 of the entries" in ranked(*two_seeds[:2], entries[2])[0].sentence()

    # Without an order of ours tau is undefined.
    tied = [entry("SBN 200", [1.0]), entry("SBN 200", [1.0], column="WS"), entry("SBN 500", [1.0])]
    assert ranked(*tied)[0].tau is None

    (with_ties,) = ranked(
        entries[0], entry("SBN 200", [119.0], column="WS"), entry("SBN 500", [114.0])
    )
    assert [e.our_rank for e in with_ties.entries] == [1, 1, 3]  # ties share the lowest

    other_protocol = [entry("SBN 500", [115.0], paper_protocol=False)]
    assert ranked(*entries[:2], *other_protocol) == ()


def test_a_ranking_holds_one_measure_of_one_split_and_each_run_once(ranked, table, entry):
    ours = {"SBN 200": 114.0, "SBN 500": 115.0, "SBN 200-200": 101.0}
    table = replace(
        table, rows={row: Row(published={"NVIL": v, "WS": v + 5}) for row, v in ours.items()}
    )

    def numbers(column, data="mnist_static", **other):
        return [
            entry(row, [v], column=column, data=data, key=f"{data}-{row}", **other)
            for row, v in ours.items()
        ]

    def columns(ranking):
        return [e.name.split(" / ")[1] for e in ranking.entries]

    test = numbers("NVIL")
    train = numbers("WS", signature=test[0][0]["signature"].replace("split:test", "split:train"))

    for other, scope in (
        (train, "mnist_static, train"),
        (numbers("WS", data="omniglot"), "omniglot, test"),
    ):
        rankings = ranked(*test, *other, of=table)
        assert [(r.scope, columns(r)) for r in rankings] == [
            ("mnist_static, test", ["NVIL"] * 3),
            (scope, ["WS"] * 3),
        ]

    assert ranked(*test[:2], *train[:2], of=table) == (), (
        "four numbers of two runs are no order of four"
    )

    (once,) = ranked(*test, *numbers("WS"), of=table)  # two columns that show the same runs
    assert columns(once) == ["NVIL"] * 3


def test_settings_have_no_common_ranking(ranked, entry):
    three = [
        entry("SBN 200", [114.0]),
        entry("SBN 200", [119.0], column="WS"),
        entry("SBN 500", [115.0]),
    ]
    tuned = {"preset": "tuned", "label": "tuned", "key": "t"}

    assert len(ranked(*three)) == 1
    assert ranked(*three, entry("SBN 500", [111.0], **tuned)) == ()
    assert ranked(*three[:2], entry("SBN 500", [115.0], label="modified")) == ()

    # A number of another protocol is not comparable, so it does not count.
    other_protocol = entry("SBN 500", [30.0], paper_protocol=False, **tuned)
    assert len(ranked(*three, other_protocol)) == 1
