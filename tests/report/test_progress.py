"""How many published values are reproduced, missed and so on."""

from __future__ import annotations

import pytest

from vaebench.config import catalogue
from vaebench.report import progress, recorded
from vaebench.report.progress import Progress
from vaebench.report.states import State
from vaebench.verbs import ls


@pytest.fixture(scope="module")
def parts():
    return progress.of_shipped()


def test_entries_with_a_published_value_that_the_table_trains_count():
    nvil = catalogue.load("nvil_mnist")
    counted = progress.published(nvil)

    assert ("SBN 200", "NVIL") in counted
    assert ("NADE 500", "exact") not in counted  # another table trains it, and counts it there
    assert len(counted) == len(set(counted))

    documents = progress.published(catalogue.load("nvil_documents"))
    assert ("SBN 50", "20 News log") in documents
    assert ("SBN 50", "20 News raw") not in documents  # nothing is printed
    assert ("SBN 50, wake-sleep", "20 News log") not in documents


def test_every_counted_entry_is_in_one_state(parts):
    by_name = {part.name: part for part in parts}
    for name, part in by_name.items():
        assert part.total == len(progress.published(catalogue.load(name))) > 0

    assert "dvae_sharp_sharp_toy" not in by_name  # the paper prints curves only

    total = progress.totals(parts)
    assert total.total == sum(part.total for part in parts)
    assert total.counts[State.NOT_RUN] == sum(part.counts[State.NOT_RUN] for part in parts)


def test_a_table_without_results_is_not_run(parts):
    yelp = catalogue.load("lagging_yelp")
    assert not len(recorded.shipped_frame(yelp))

    counts = next(part for part in parts if part.name == "lagging_yelp").counts
    assert {state for state, number in counts.items() if number} == {State.NOT_RUN}


def test_states_are_those_of_the_verdicts(parts):
    """SBN 200-200 and 200-200-200 say yes in the report of preset=paper; MoB 500 is better."""
    counts = {part.name: part.counts for part in parts}
    assert counts["nvil_mnist"][State.REPRODUCED] >= 2
    assert counts["tractable_mnist"][State.BETTER] == 1
    assert counts["darn_mnist"][State.MISSED] == 3


def test_lines_and_sentence():
    none = dict.fromkeys(State, 0)
    two_tables = [
        Progress("a", {**none, State.REPRODUCED: 2, State.NOT_RUN: 1}),
        Progress("b", {**none, State.MISSED: 4}),
    ]
    head, line_of_a, line_of_b, line_of_all = progress.lines(two_tables)

    assert head[:5] == ("table", "values", "reproduced", "better than print", "missed")
    # A count of zero is an empty text.
    assert line_of_a == ("a", "3", "2", "", "", "", "", "", "1")
    assert line_of_b == ("b", "4", "", "", "4", "", "", "", "")
    assert line_of_all == ("all tables", "7", "2", "", "4", "", "", "", "1")

    sentence = progress.sentence(progress.totals(two_tables).counts)
    assert sentence == "Of 7 entries with a published value: reproduced 2, missed 4, not run 1."


def test_ls_prints_them(parts, capsys):
    args = type("Args", (), {"what": "progress", "overrides": []})
    assert ls.run(args) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TABLE")
    assert lines[-1].startswith("all tables")
    # The header, and the line of all tables.
    assert len(lines) == len(parts) + 2
