"""Summaries of hand-made frames: what is averaged, what is said, and what is not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from vaebench.config import catalogue
from vaebench.config.tables import Column, Row
from vaebench.report.footnotes import footnotes
from vaebench.report.summary import summarize


@pytest.fixture
def one(table, frame):
    """A function from entries to the one row of the summary that is of SBN 200 / NVIL."""

    def make(*entries, of=table):
        (row,) = [
            r for r in summarize(of, frame(*entries)) if (r.row, r.column) == ("SBN 200", "NVIL")
        ]
        return row

    return make


def test_rows_follow_the_table_when_nothing_ran(table, frame):
    rows = summarize(table, frame())
    assert [(r.row, r.column, r.published, r.verdict, r.status) for r in rows] == [
        ("SBN 200", "NVIL", 113.1, "-", "not run"),
        ("SBN 200", "WS", 120.8, "-", "not run"),
        ("SBN 500", "NVIL", 112.8, "-", "not run"),
        ("fDARN 200", "NVIL", 92.5, "-", "not run"),
        ("NADE_500 | 100%", "NLL", 88.9, "not trained here", ""),
    ]
    assert rows[-1].source == "Larochelle & Murray 2011"
    assert rows[2].footnotes == ("the paper's bold entry",)


def test_three_seeds(one, entry):
    row = one(
        entry("SBN 200", [113.2, 113.3, 113.4]),
        entry("SBN 200", [110.0, 111.0, 112.0], metric="iw_nll", samples=1000),
        entry("SBN 200", [20.0, 21.0, 22.0], metric="kl"),
    )

    assert row.ours.mean == pytest.approx(113.3)
    assert row.se == pytest.approx(0.1 / math.sqrt(3))
    assert (row.n, row.verdict, row.status) == (3, "yes", "")
    assert row.difference == pytest.approx(0.2)
    assert (row.iw_nll.mean, row.beside["kl"].mean) == (111.0, 21.0)
    assert row.iw_nll.se == pytest.approx(1 / math.sqrt(3))
    assert (row.updates, row.seconds, row.device) == (200000, 600.0, "cpu")


def test_one_seed_has_its_monte_carlo_error_and_no_yes(one, entry):
    row = one(entry("SBN 200", [113.1]), entry("SBN 200", [110.0], metric="iw_nll", error=0.03))
    assert (row.n, row.se, row.verdict, row.ours.own_error) == (1, None, "n=1", 0.05)
    assert row.difference == 0.0
    assert row.iw_nll.error == 0.03


def test_errors_that_the_seeds_share_are_those_of_the_worst_seed(one, entry):
    """They do not average out: the largest error is told, and the fewest effective samples."""
    # No seed is the worst in everything.
    extras = [
        {"log_z_error": 0.02, "spread": 0.3, "ess": 40.0, "unknown": 0.02},
        {"log_z_error": 0.07, "spread": 0.1, "ess": 90.0, "unknown": 0.01},
        {"log_z_error": 0.05, "spread": 0.2, "ess": 25.0, "unknown": 0.04},
    ]
    row = one(*(entry("SBN 200", [113.0], first=i, extra=e) for i, e in enumerate(extras)))

    assert (row.ours.log_z_error, row.ours.case_error, row.ours.ess) == (0.07, 0.3, 25.0)
    assert row.ours.unknown == 0.04


def test_the_cost_is_the_mean_over_seeds_by_the_processors_clock_if_any_has_it(one, entry):
    """Seconds by another clock include what else the machine did, so they do not count beside
    these. The pack that is shown is the largest."""
    runs = [
        entry("SBN 200", [113.0], first=0, seconds=100.0, clock="processor", updates=10, pack=2),
        entry("SBN 200", [113.0], first=1, seconds=300.0, clock="processor", updates=20, pack=3),
        entry("SBN 200", [113.0], first=2, seconds=5000.0, clock="", updates=60, pack=1),
    ]
    row = one(*runs)

    # Seconds of seeds 0 and 1; updates and pack of all three.
    assert (row.seconds, row.clock, row.updates, row.pack) == (200.0, "processor", 30, 3)
    assert one(runs[2]).seconds == 5000.0


def test_the_kl_of_each_layer_is_its_mean_over_the_seeds(one, entry):
    kl = [
        entry("SBN 200", [sum(layers)], metric="kl", first=i, extra={"layers": layers})
        for i, layers in enumerate(([31.0, 13.0], [33.0, 14.0], [35.0, 18.0]))
    ]
    mean_kl = one(entry("SBN 200", [113.0] * 3), *(line for line in kl)).beside["kl"]

    assert mean_kl.layers == (33.0, 15.0)
    assert mean_kl.mean == 48.0


def test_a_printed_number_that_is_indicative_stands_beside_ours_without_a_verdict(
    table, entry, one
):
    columns = {
        **table.columns,
        "NVIL": replace(table.columns["NVIL"], indicative="their documents are others"),
    }
    runs = entry("SBN 200", [113.0, 113.1, 113.2])

    assert (one(runs).verdict, one(runs).comparable) == ("yes", True)

    row = one(runs, of=replace(table, columns=columns))
    assert (row.published, row.ours.mean) == (113.1, pytest.approx(113.1))
    assert (row.verdict, row.difference, row.comparable) == ("-", None, False)
    assert (
        "the printed number is indicative, no verdict: their documents are others" in row.footnotes
    )

    # Where nothing is printed in that column there is nothing to say.
    unprinted = replace(
        table,
        columns=columns,
        rows={"SBN 200": replace(table.rows["SBN 200"], published={"WS": 1.0})},
    )

    assert not one(runs, of=unprinted).footnotes


@pytest.mark.parametrize(
    ("mean", "verdict"), [(113.6, "yes"), (113.7, "no"), (112.6, "yes"), (112.5, "better")]
)
def test_verdict_at_the_margin_and_its_label(one, entry, mean, verdict):
    values = [mean - 0.02, mean + 0.02]
    assert one(entry("SBN 200", values)).verdict == verdict

    tuned = one(entry("SBN 200", values, label="tuned", preset="tuned"))
    assert tuned.verdict == f"{verdict}, tuned"


def test_failed_and_unfinished_seeds_are_named_and_left_out(one, entry, failed):
    row = one(
        entry("SBN 200", [113.09, 113.11]),
        failed("SBN 200", 2),
        failed("SBN 200", 3, status="diverged", reason=""),
        entry("SBN 200", [1e9], first=4, status="partial"),
        failed("SBN 200", 5, status="partial", reason=""),
    )

    # Seeds that may yet finish do not count.
    assert (row.n, row.verdict) == (2, "yes, 2 of 4 seeds")
    assert row.ours.mean == pytest.approx(113.1)
    assert row.status == "1 failed, 1 diverged, 2 partial"
    assert row.footnotes[0] == "seed 2 failed: RuntimeError: out of memory"
    assert one(failed("SBN 200", 0)).verdict == "-"


def test_verdict_names_the_seeds_that_were_lost(one, entry, failed):
    tuned = {"preset": "tuned", "label": "tuned"}
    lost = [failed("SBN 200", 3, **tuned), failed("SBN 200", 4, status="diverged", **tuned)]
    three_seeds = [
        entry("SBN 200", [113.0, 113.1, 113.2], **tuned),
        entry("SBN 200", [110.0] * 3, metric="iw_nll", **tuned),
    ]

    assert one(*three_seeds, *lost).verdict == "yes, tuned, 3 of 5 seeds"
    assert one(*three_seeds).verdict == "yes, tuned"
    assert one(entry("SBN 200", [113.0]), failed("SBN 200", 1)).verdict == "n=1, 1 of 2 seeds"

    other_protocol = entry("SBN 200", [113.0, 113.1], paper_protocol=False)
    assert one(other_protocol, failed("SBN 200", 2, paper_protocol=False)).verdict == "-"

    # A seed that is to be evaluated again is not lost.
    stale = entry("SBN 200", [90.0], first=2, extra={"current": False})
    assert one(entry("SBN 200", [113.09, 113.11]), stale).verdict == "yes"


def test_number_that_is_not_finite_is_named_and_left_out(one, entry):
    row = one(entry("SBN 200", [113.09, math.nan, 113.11]))
    assert (row.n, row.status, row.verdict) == (2, "1 without a number", "yes, 2 of 3 seeds")
    assert row.footnotes == ("bound (seed 1): not finite: the value is no number",)
    assert row.ours.mean == pytest.approx(113.1)


def test_other_data_give_no_verdict_and_say_why(one, entry):
    row = one(
        entry(
            "SBN 200", [30.0, 31.0], data="digits", points=100, paper_protocol=False, label="quick"
        )
    )

    assert (row.verdict, row.difference, row.comparable) == ("-", None, False)
    assert row.ours.mean == 30.5
    assert row.footnotes == (
        (
            "no verdict: not the paper's protocol (data digits, not mnist_static; "
            "test cases 100, not all)"
        ),
    )


def test_seeds_under_unlike_protocols_give_no_verdict(one, entry):
    other_data = entry("SBN 200", [113.1], first=1)
    other_data[0]["signature"] = other_data[0]["signature"].replace("8f3a12cd", "00000000")
    row = one(entry("SBN 200", [113.1]), other_data)

    assert (row.verdict, row.n) == ("-", 2)

    difference = "data:mnist_static@8f3a12cd against data:mnist_static@00000000"
    assert row.footnotes == (f"no verdict: measured under different protocols ({difference})",)


def test_a_seed_under_two_protocols_gives_no_verdict(one, entry):
    """Files of two versions may hold both: one number is shown, and a note names both protocols."""
    two_protocols = [entry("SBN 200", [113.05, 113.1], samples=k) for k in (5, 10)]
    row = one(*two_protocols)

    assert (row.verdict, row.difference, row.n) == ("-", None, 2)
    assert row.footnotes == (
        "no verdict: measured under different protocols (samples:5 against samples:10)",
    )


def test_unlike_protocols_beside_the_measure_are_named(one, entry):
    beside = [
        entry("SBN 200", [110.0], metric="iw_nll", samples=k, first=i)
        for i, k in enumerate((100, 1000))
    ]
    row = one(entry("SBN 200", [113.05, 113.1]), *beside)

    assert row.verdict == "yes"
    assert row.footnotes == (
        "IW-NLL: measured under different protocols (samples:100 against samples:1000)",
    )


def test_measure_of_another_evaluation_is_not_shown(one, entry):
    stale = entry("SBN 200", [90.0, 90.0], extra={"current": False})
    assert one(stale, entry("SBN 200", [113.0, 113.2])).ours.mean == pytest.approx(113.1)

    row = one(stale)
    assert (row.ours, row.verdict, row.status) == (None, "-", "2 without a number")
    assert "another evaluation" in row.footnotes[0]
    assert "was not measured" in one(entry("SBN 200", [90.0], metric="kl")).footnotes[0]


def test_presets_and_settings_are_never_averaged(table, frame, entry):
    runs = frame(
        entry("SBN 200", [113.09, 113.11]),
        entry("SBN 200", [111.09, 111.11], preset="tuned", label="tuned", key="other"),
        entry("SBN 200", [100.0, 100.0], table="another_table"),
    )
    rows = [r for r in summarize(table, runs) if (r.row, r.column) == ("SBN 200", "NVIL")]

    assert [(r.preset, r.verdict) for r in rows] == [("paper", "yes"), ("tuned", "better, tuned")]


def test_cells_that_share_a_run_are_all_counted(table, frame, entry):
    runs = frame(
        *(entry("SBN 200", [113.0, 113.2], column=c, key="shared") for c in ("NVIL", "WS")),
    )
    assert [r.n for r in summarize(table, runs) if r.row == "SBN 200"] == [2, 2]


def test_estimates_carry_samples_and_effective_samples(one, entry):
    def iw_nll(ess, first, samples=100):
        extra = {"ess": ess} if ess is not None else None
        return entry("SBN 200", [110.0], metric="iw_nll", first=first, samples=samples, extra=extra)

    bound = entry("SBN 200", [113.0, 113.2])
    row = one(bound, iw_nll(7.5, 0), iw_nll(3.25, 1))

    assert (row.iw_nll.samples, row.iw_nll.ess) == (100, 3.25)
    assert (row.ours.samples, row.ours.ess) == (10, None)

    other_samples = one(bound, iw_nll(None, 0), iw_nll(None, 1, samples=1000))
    assert (other_samples.iw_nll.samples, other_samples.iw_nll.ess) == (None, None)
    assert one(bound, iw_nll(None, 0, samples=None)).iw_nll.samples is None


@pytest.mark.parametrize("mean", [15.0, 20.0, 25.0])
def test_a_measure_that_only_describes_has_a_difference_and_no_verdict(one, table, entry, mean):
    """Less KL is no better than more: a collapsed posterior has none."""
    table = replace(
        table,
        columns={"NVIL": Column(measure="kl")},
        rows={"SBN 200": Row(published={"NVIL": 20.0})},
    )
    row = one(entry("SBN 200", [mean - 0.1, mean + 0.1], metric="kl"), of=table)

    assert (row.verdict, row.difference) == ("-", pytest.approx(mean - 20.0))


def test_what_has_a_column_of_its_own_does_not_stand_beside(table, frame, entry):
    """Columns without settings share their runs. One with settings of its own shows all it has."""
    columns = {
        "NVIL": Column(),
        "KL": Column(measure="kl"),
        "WS": Column(set=("objective=wake_sleep",)),
    }
    shared = replace(table, columns=columns, rows={"SBN 200": Row(published={})})
    lines = []
    for column in columns:
        for metric, value in (("bound", 113.0), ("kl", 20.0), ("iw_nll", 109.0)):
            lines += entry("SBN 200", [value], column=column, metric=metric)

    rows = {r.column: r for r in summarize(shared, frame(lines))}
    assert set(rows["NVIL"].beside) == {"iw_nll"}
    assert set(rows["KL"].beside) == {"iw_nll"}
    assert set(rows["WS"].beside) == {"kl", "iw_nll"}


@pytest.mark.parametrize(
    ("seeds", "word"),
    [
        (["diverged"], "diverged too"),
        (["diverged", "done"], "not diverged"),
        (["done"], "not diverged"),
        (["failed"], "-"),
    ],
)
@pytest.mark.parametrize("label", ["", "short"])
def test_where_the_papers_run_diverged(table, frame, entry, failed, seeds, word, label):
    row = replace(table.rows["SBN 500"], published={}, diverges=True)
    diverging = replace(table, rows={"SBN 500": row})
    runs = []
    for seed, status in enumerate(seeds):
        lost = failed("SBN 500", seed, status=status, reason="the bound is not finite", label=label)
        runs += entry("SBN 500", [113.0], first=seed, label=label) if status == "done" else lost

    (summary,) = summarize(diverging, frame(runs))
    assert summary.verdict == (word if word == "-" or not label else f"{word}, {label}")

    other_protocol = frame([{**r, "paper_protocol": False} for r in runs])
    assert summarize(diverging, other_protocol)[0].verdict == "-"


def test_the_share_of_unknown_words_stands_below_the_report(table, frame, entry):
    """The largest of the rows and seeds; nothing where every word is known."""
    some_unknown = frame(
        entry("SBN 200", [100.0, 101.0], extra={"unknown": 0.031}),
        entry("SBN 500", [100.0], extra={"unknown": 0.012}),
    )
    lines = footnotes(table, summarize(table, some_unknown))

    assert (
        "<unk>: up to 3.1% of the documents' words are not in the vocabulary and scored as <unk>."
        in lines
    )

    all_words_known = frame(
        entry("SBN 200", [100.0], extra={"unknown": 0.0}), entry("SBN 500", [100.0])
    )
    assert not any("<unk>" in line for line in footnotes(table, summarize(table, all_words_known)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rbm_logz", "less is no better than more"),
        ("rbm_mnist", "lower is better"),
        ("nvil_mnist", "lower is better"),
    ],
)
def test_lower_is_better_of_numbers_that_judge_a_model(name, words):
    """A log Z that is too small is an annealing that failed."""
    (legend,) = [
        line for line in footnotes(catalogue.load_table(name), []) if line.startswith("ours: ")
    ]
    assert legend.endswith(f"; {words}.")
