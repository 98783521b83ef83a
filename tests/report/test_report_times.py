"""A column of times: shown beside the paper's, with the ratio of its rows, and never judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaebench.config.cells import Cell
from vaebench.config.tables import Column, Row
from vaebench.report import table_page
from vaebench.report.compare import compare
from vaebench.report.compare import render as compared
from vaebench.report.footnotes import footnotes
from vaebench.report.plots.bound import collect_curves
from vaebench.report.ranking import rank
from vaebench.report.select import estimate, measured
from vaebench.report.summary import summarize
from vaebench.report.times import ratios
from vaebench.results.store import Store

CLOCK = "ms_per_update|data:mnist_static@8f3a12cd|recipe:1"


@pytest.fixture
def timed(table):
    """Two rows, a column of bounds and one of times."""
    fast = {"bound": 110.9, "ms": 22}
    slow = {"bound": 113.4, "ms": 103}
    return replace(
        table,
        columns={"bound": Column(), "ms": Column(measure="ms_per_update")},
        rows={"fast": Row(published=fast), "slow": Row(published=slow)},
    )


@pytest.fixture
def both(entry):
    """Entries of a row: bounds and times, in their columns."""

    def make(row, times, first=0, **other):
        clock = {
            "metric": "ms_per_update",
            "unit": "ms",
            "error": None,
            "error_kind": "none",
            "signature": CLOCK,
        }
        size = {"points": None, "samples": None, "key": f"key {row}", **other}
        bounds = entry(
            row, [111.0 + 0.02 * i for i in range(len(times))], column="bound", first=first, **other
        )
        return [{**r, "key": f"key {row}"} for r in bounds] + entry(
            row, times, column="ms", first=first, **clock | size
        )

    return make


@pytest.fixture
def rows_of(timed, frame):
    """A function from entries to the rows of the column of times."""
    return lambda *entries, of=timed: [
        r for r in summarize(of, frame(*entries)) if r.column == "ms"
    ]


def test_a_time_is_shown_and_has_no_verdict(timed, frame, both):
    rows = summarize(timed, frame(both("fast", [20.0, 24.0]), both("slow", [88.0, 88.0])))
    assert [(r.row, r.column, r.measure) for r in rows[:2]] == [
        ("fast", "bound", "bound"),
        ("fast", "ms", "ms_per_update"),
    ]

    bound, time = rows[:2]
    assert (bound.verdict, bound.difference) == ("yes", pytest.approx(0.11))
    assert (time.verdict, time.difference, time.comparable) == ("-", None, False)
    assert (time.published, time.ours.mean, time.ours.unit) == (22, 22.0, "ms")
    assert time.footnotes == (), "it is not the evaluation that lacks a verdict"
    assert rank(rows) == (), "times have no place in the order of the bounds"


def test_times_have_decimals_of_their_own_and_the_table_keeps_its_unit(rows_of, timed, frame, both):
    grid = table_page.make(timed, frame(both("fast", [20.0, 24.0]))).grid
    cells = [dict(zip(grid.headers, line, strict=True)) for line in grid.lines]

    assert [c["published"] for c in cells] == ["110.9", "22", "113.4", "103"]
    assert [c["ours"] for c in cells[:2]] == ["111.01 ± 0.01", "22.0 ± 2.0"]

    times = rows_of(both("fast", [20.0]))
    notes = "\n".join(footnotes(timed, times))

    assert "ours: bound in nats, mean" in notes
    assert "margin: 0.5 nats" in notes


def test_another_measure_of_a_column_is_named(timed):
    columns = {**timed.columns, "bound": Column(measure="iw_nll")}
    notes = footnotes(replace(timed, columns=columns), [])
    assert notes[0].startswith("ours: bound in nats, in column bound IW-NLL, mean over seeds")


# ------------------------------------------------------------------------------------------- ratios


def test_the_error_of_the_ratio_is_that_of_both_means(rows_of, both):
    rows = rows_of(both("fast", [19.0, 21.0]), both("slow", [80.0, 80.0]))
    # The ratio 80 / 20 is 4. Its relative error is that of 20 ± 1, so its error is 4 / 20 = 0.2.
    assert list(ratios("ms", rows)) == ["ms, slow / fast: 4.7 published, 4.0 ± 0.2 ours."]


def test_one_row_alone_has_no_ratio_of_ours(rows_of, both):
    rows = rows_of(both("slow", [88.0]))
    assert list(ratios("ms", rows)) == ["ms, slow / fast: 4.7 published."]


@pytest.mark.parametrize("unlike", [{"device": "cuda (H200)"}, {"pack": 5}], ids=str)
def test_times_of_unlike_machines_have_no_ratio(rows_of, both, unlike):
    rows = rows_of(both("fast", [20.0]), both("slow", [88.0], **unlike))
    assert list(ratios("ms", rows)) == [
        (
            "ms, slow / fast: 4.7 published, ours not given: other devices, or other numbers "
            "of seeds side by side."
        )
    ]


def test_presets_have_ratios_of_their_own(rows_of, both):
    quick = {"preset": "quick", "label": "quick"}
    entries = [
        both("fast", [20.0]),
        both("slow", [80.0]),
        both("fast", [10.0], **quick),
        both("slow", [20.0], **quick),
    ]
    rows = rows_of(*entries)

    assert list(ratios("ms", rows)) == [
        "ms, slow / fast: 4.7 published, 4.0 ours.",
        "ms, slow / fast: 4.7 published, 2.0 ours (preset quick).",
    ]


def test_without_published_times_there_is_our_ratio(rows_of, timed, both):
    bare = replace(timed, rows={"fast": Row(), "slow": Row()})
    rows = rows_of(both("fast", [20.0]), both("slow", [50.0]), of=bare)
    assert list(ratios("ms", rows)) == ["ms, slow / fast: 2.5 ours."]


def test_shares_of_a_pack_are_not_several_times(frame, both):
    """Seeds that run side by side share one time, so its scatter over them says nothing."""
    alone, packed = (
        estimate(measured(frame(both("fast", [20.0, 20.0], pack=pack)), "ms_per_update"))
        for pack in (1, 2)
    )

    assert (alone.n, alone.se, packed.n, packed.se, packed.error) == (2, 0.0, 2, None, None)

    bound = estimate(measured(frame(both("fast", [20.0, 20.0], pack=2)), "bound"))
    assert bound.se == pytest.approx(0.01)


# ------------------------------------------------------------------------------------------ compare


@pytest.mark.parametrize("tol", [None, 0.0, 1.0])
def test_compare_never_fails_on_a_time(frame, both, tol):
    a = frame(both("fast", [20.0, 21.0]))
    b = frame(both("fast", [900.0, 901.0]))
    comparison = compare(a, b, tol)

    assert [(r.metric, r.judged, r.within) for r in comparison.rows] == [
        ("bound", True, True),
        ("ms_per_update", False, False),
    ]
    assert comparison.rows[1].allowed is None
    assert not comparison.differs

    text = compared(comparison)
    assert "not judged" in text
    assert "1 of 2 rows within what is allowed, 1 not judged (times)" in text
    assert "DIFFERS" not in text


def test_a_time_on_one_side_only_is_not_a_difference(frame, both):
    both_columns = both("fast", [20.0])
    bounds = [r for r in both_columns if r["metric"] == "bound"]

    for a, b, side in ((both_columns, bounds, "first"), (bounds, both_columns, "second")):
        comparison = compare(frame(a), frame(b))
        assert not comparison.differs
        assert f"not judged: only in the {side}" in compared(comparison)

    times = [r for r in both_columns if r["metric"] != "bound"]
    assert compare(frame(both_columns), frame(times)).differs, "a bound on one side only is one"


def test_a_bound_without_an_error_is_told_from_a_time(frame, both):
    no_error = {"error": None, "error_kind": "none"}
    rows = [{**r, **no_error, "unit": "units"} for r in both("fast", [20.0])]
    text = compared(compare(frame(rows), frame(rows)))

    assert "0 of 2 rows within what is allowed, 2 not judged" in text
    assert "(times; no error is known, and no margin applies)" in text


# ------------------------------------------------------------------------------------------- curves


def test_columns_that_share_a_run_have_one_curve(tmp_path):
    config = {
        **{k: {"name": k} for k in ("data", "model", "objective", "optim")},
        "train": {},
        "recipe": 1,
    }
    # Four cells of the same settings have one key, and so one run.
    cells = [
        Cell("t", row, column, "quick", config)
        for row in ("a", "b")
        for column in ("test", "train")
    ]
    folder = Store(tmp_path).run_dir(cells[0].key, 0)
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text(
        "update,seconds,train_bound,valid_bound,unit\n10,1.0,5,6,nats\n"
    )
    curves = collect_curves(Store(tmp_path), cells, [0])

    assert curves[["row", "column"]].values.tolist() == [["a", "test"], ["b", "test"]]
