"""compare: agreement within a tolerance or errors, and refusal of unlike protocols."""

from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_ind

from vaebench.config.catalogue import load_table
from vaebench.errors import UserError
from vaebench.report.compare import LEVEL, compare, render
from vaebench.results.stats import half_width


@pytest.fixture
def compared(frame):
    """``compare`` of entries."""
    return lambda a, b, *args, **options: compare(frame(a), frame(b), *args, **options)


def test_same_results_agree(compared, entry):
    two_metrics = entry("SBN 200", [113.0, 113.2]) + entry(
        "SBN 200", [110.0, 110.1], metric="iw_nll"
    )
    comparison = compared(two_metrics, two_metrics, tol=0.0)

    assert not comparison.differs
    assert [(r.name, r.metric, r.difference) for r in comparison.rows] == [
        ("nvil_mnist: SBN 200 / NVIL", "bound", 0.0),
        ("nvil_mnist: SBN 200 / NVIL", "iw_nll", 0.0),
    ]
    assert "2 of 2 rows within what is allowed: |difference| <= 0" in render(comparison)


@pytest.mark.parametrize(
    ("shift", "differs"), [(0.25, False), (-0.25, False), (0.26, True), (-0.26, True)]
)
def test_tolerance_on_both_sides(compared, entry, shift, differs):
    a = entry("SBN 200", [113.0])
    b = entry("SBN 200", [113.0 + shift])
    comparison = compared(a, b, tol=0.25)

    assert comparison.differs is differs
    assert comparison.rows[0].difference == pytest.approx(shift)
    assert ("DIFFERS" in render(comparison)) is differs


def test_without_tolerance_the_interval_by_welchs_t_decides(compared, entry):
    """The interval is that of scipy. With two seeds a side it is many standard errors wide."""
    a = [113.0, 113.1, 113.2]
    b = [113.2, 113.4, 113.6]
    comparison = compared(entry("SBN 200", a), entry("SBN 200", b))
    interval = ttest_ind(b, a, equal_var=False).confidence_interval(LEVEL)

    # The standard deviations are 0.1 and 0.2, over three seeds each.
    assert comparison.rows[0].error == pytest.approx(math.hypot(0.1, 0.2) / math.sqrt(3))
    assert comparison.rows[0].allowed == pytest.approx((interval.high - interval.low) / 2)
    assert comparison.rows[0].difference == pytest.approx(0.3)
    assert not comparison.differs

    # One nat more is a difference with three seeds a side, but not with two.
    assert compared(entry("SBN 200", a), entry("SBN 200", [v + 1.0 for v in b])).differs

    two_seeds = compared(entry("SBN 200", a[:2]), entry("SBN 200", [v + 1.0 for v in b[:2]]))
    assert not two_seeds.differs


def test_one_seed_uses_the_error_of_its_evaluation_and_the_margin(compared, entry):
    a = entry("SBN 200", [113.0], error=0.03)
    margin = load_table("nvil_mnist").margin
    comparison = compared(a, entry("SBN 200", [113.0 + margin - 0.01], error=0.04))

    # hypot(0.03, 0.04)
    assert comparison.rows[0].error == pytest.approx(0.05)
    # The seeds may differ by more than their evaluations.
    assert comparison.rows[0].allowed == margin
    assert not comparison.differs
    assert "at least the table's margin, because the spread over seeds is unknown" in render(
        comparison
    )
    assert compared(a, entry("SBN 200", [113.0 + margin + 0.01], error=0.04)).differs
    assert compared(a, entry("SBN 200", [113.0, 113.0])).rows[0].allowed == margin

    # Three errors of the evaluations exceed the margin.
    large_error = compared(a, entry("SBN 200", [113.1], error=0.4))
    assert large_error.rows[0].allowed == pytest.approx(3 * math.hypot(0.03, 0.4))

    # Two seeds that do not differ leave only ``compare.FLOOR``.
    two_seeds = entry("SBN 200", [113.0, 113.0])
    assert compared(two_seeds, two_seeds).rows[0].allowed == 1e-6
    assert "margin" not in render(compared(two_seeds, two_seeds))


def test_a_row_says_what_allowed_its_difference(compared, entry):
    """The margin of a single seed may be many errors wide, and then it is not called errors."""
    single = entry("SBN 200", [113.0], error=0.01)
    other_seed = entry("SBN 200", [113.4], error=0.01)
    several = entry("SBN 200", [112.9, 113.0, 113.1])
    units = {"metric": "active_units", "unit": "units"}
    a = several + entry("SBN 200", [100.0, 102.0, 104.0], **units)

    assert "within margin" in render(compared(single, other_seed))
    assert "within errors" in render(compared(several, several))
    assert "within tolerance" in render(compared(single, other_seed, tol=0.5))
    assert [r.by for r in compared(a, a, tol=0.5).rows] == ["tolerance", "errors"]
    assert "DIFFERS" in render(compared(single, other_seed, tol=0.1))


def test_table_that_is_not_known_has_no_margin(compared, entry):
    a = entry("SBN 200", [113.0], error=0.03, table="of_old")
    comparison = compared(a, entry("SBN 200", [113.2], error=0.04, table="of_old"))

    # Three times hypot(0.03, 0.04).
    assert comparison.rows[0].allowed == pytest.approx(0.15)
    assert comparison.differs


def test_without_any_error_nothing_is_judged(compared, entry):
    bare = {"error": None, "error_kind": "none", "metric": "kl"}
    bound = entry("SBN 200", [113.0])
    a = bound + entry("SBN 200", [20.0], **bare)
    b = bound + entry("SBN 200", [29.0], **bare)
    comparison = compared(a, b)

    assert [(r.metric, r.judged, r.within, r.allowed) for r in comparison.rows][1] == (
        "kl",
        False,
        False,
        None,
    )
    assert not comparison.differs
    assert (
        "1 of 2 rows within what is allowed, 1 not judged "
        "(no error is known, and no margin applies)" in render(comparison)
    )
    assert compared(a, b, tol=8.9).differs
    assert not compared(a, b, tol=9.0).differs
    assert compared(a, bound).differs  # a metric in one file only is always told

    one_known = compared(a, bound + entry("SBN 200", [29.0, 29.01], metric="kl"))
    assert one_known.rows[1].judged
    assert one_known.differs


def test_an_exact_number_of_one_seed_has_the_margin(compared, entry):
    """It has no error, and the spread over seeds is unknown."""
    exact = {"column": "exact", "metric": "nll", "error": None, "error_kind": "none"}
    a = entry("NADE 500", [88.9], **exact)
    margin = load_table("nvil_mnist").margin
    near = compared(a, entry("NADE 500", [88.9 + margin - 0.01], **exact))

    assert (near.rows[0].by, near.rows[0].allowed, near.differs) == ("margin", margin, False)
    assert compared(a, entry("NADE 500", [88.9 + margin + 0.01], **exact)).differs


def test_a_description_has_no_margin(compared, entry):
    """A KL without an error is not judged, though a paper printed it."""
    kl = {"table": "lagging_yahoo", "column": "KL", "metric": "kl"}
    bare = {**kl, "error": None, "error_kind": "none"}
    comparison = compared(entry("aggressive", [0.46], **bare), entry("aggressive", [0.91], **bare))

    assert (comparison.rows[0].judged, "margin, because" in render(comparison)) == (False, False)


def test_a_margin_is_of_its_own_unit(compared, entry):
    """The margin of documents is a perplexity, so it does not hold for their bounds in nats."""
    documents = {"table": "nvil_documents", "column": "20 News log", "error": 0.1}
    margin = load_table("nvil_documents").margin
    words = {"metric": "document_perplexity", "unit": "per token", **documents}
    a = entry("SBN 50", [1148.0], **words) + entry("SBN 50", [470.0], **documents)
    b = entry("SBN 50", [1148.0 + margin - 1], **words) + entry("SBN 50", [478.0], **documents)
    verdict_by_metric = {row.metric: (row.by, row.within) for row in compared(a, b).rows}

    assert verdict_by_metric == {
        "document_perplexity": ("margin", True),
        "bound": ("errors", False),
    }


def test_tolerance_is_for_nats_only(compared, entry):
    units = {"metric": "active_units", "unit": "units", "error": None, "error_kind": "none"}
    single = compared(entry("SBN 200", [20.0], **units), entry("SBN 200", [90.0], **units), tol=0.1)

    assert not single.rows[0].judged
    assert not single.differs

    several = entry("SBN 200", [20.0, 22.0, 20.0, 22.0], **units)
    # Both sides have a standard deviation of sqrt(4/3) over 4 seeds, so a standard error of
    # 1/sqrt(3).
    interval = half_width([(1 / math.sqrt(3), 3)] * 2, LEVEL)
    near = compared(several, entry("SBN 200", [24.0, 26.0, 24.0, 26.0], **units), tol=0.1)

    assert near.rows[0].allowed == pytest.approx(interval)
    assert not near.differs
    assert "<= 0.1 nats; in other units the 99.7% interval, by Student's t" in render(near)
    assert compared(several, entry("SBN 200", [27.0, 29.0, 27.0, 29.0], **units), tol=100.0).differs

    # A margin in nats says nothing about units.
    one_seed = compared(several, entry("SBN 200", [21.0], **units))
    assert one_seed.rows[0].allowed == pytest.approx(half_width([(1 / math.sqrt(3), 3)], LEVEL))


def test_rows_in_one_side_only_differ(compared, entry, failed):
    in_both = entry("SBN 200", [113.0])
    comparison = compared(
        in_both + entry("SBN 500", [112.0]), in_both + failed("SBN 500", 0), tol=1.0
    )

    assert comparison.differs
    assert [r.within for r in comparison.rows] == [True, False]
    assert "only in the first" in render(comparison)

    swapped = compared(in_both, in_both + entry("SBN 500", [112.0]), tol=1.0)
    assert swapped.differs
    assert "only in the second" in render(swapped)
    assert "1 of 1 rows within what is allowed, 1 more in one side only" in render(swapped)


def test_number_that_is_not_finite_is_no_agreement(compared, entry):
    a = entry("SBN 200", [113.0])
    b = entry("SBN 200", [math.nan])

    assert compared(a, b, tol=1.0).differs
    with pytest.raises(UserError, match="nothing to compare"):
        compared(b, b)


def test_nothing_in_common_is_refused(compared, entry):
    a = entry("SBN 200", [113.0])
    b = entry("SBN 500", [113.0], preset="tuned")

    with pytest.raises(
        UserError, match=r"no row is in both.*first has nvil_mnist preset=paper, .*preset=tuned"
    ):
        compared(a, b)


def test_other_training_settings_are_named(compared, entry):
    a = entry("SBN 200", [113.0], key="one")
    b = entry("SBN 200", [113.0], key="two")

    assert "within margin (trained otherwise: one against two)" in render(compared(a, b))
    assert "trained otherwise" not in render(compared(a, a))


def test_unlike_signatures_are_refused(compared, entry):
    a = entry("SBN 200", [113.0])
    b = entry("SBN 200", [113.0], data="digits", points=50)

    with pytest.raises(UserError) as caught:
        compared(a, b)

    line = str(caught.value)
    assert "nvil_mnist: SBN 200 / NVIL, bound" in line
    assert (
        "data:mnist_static@8f3a12cd against data:digits@8f3a12cd; points:all against points:50"
        in line
    )
    assert "\n" not in line

    comparison = compared(a, b, ignore_protocol=True)
    assert not comparison.differs
    assert "data:digits" in render(comparison)


def test_unlike_signatures_within_a_side_are_refused(compared, entry):
    a = entry("SBN 200", [113.0]) + entry("SBN 200", [113.0], first=1, samples=5)
    with pytest.raises(UserError, match="samples:10 against samples:5"):
        compared(a, a)


def test_presets_are_rows_of_their_own_and_settings_are_refused(compared, entry):
    two_presets = entry("SBN 200", [113.0]) + entry("SBN 200", [111.0], preset="tuned", key="k")
    comparison = compared(two_presets, entry("SBN 200", [113.0]), tol=0.1)

    assert [(r.name, r.within) for r in comparison.rows] == [
        ("nvil_mnist: SBN 200 / NVIL (paper)", True),
        ("nvil_mnist: SBN 200 / NVIL (tuned)", False),
    ]

    two_trainings = entry("SBN 200", [113.0]) + entry("SBN 200", [111.0], first=1, key="k")
    with pytest.raises(UserError, match="2 training settings"):
        compared(two_trainings, two_trainings)


def test_preset_against_preset(compared, entry):
    a = entry("SBN 200", [113.0])
    b = entry("SBN 200", [111.0], preset="tuned", key="k")
    comparison = compared(a, b, tol=0.1)

    assert comparison.rows[0].difference == pytest.approx(-2.0)
    assert "DIFFERS (presets: paper against tuned)" in render(comparison)
    assert "presets:" not in render(compared(a, a))

    modified = entry("SBN 200", [113.0], label="modified", key="k")
    assert "within margin (labels: none against modified)" in render(compared(a, modified))


@pytest.mark.parametrize("tol", [-0.1, math.nan, math.inf])
def test_bad_tolerance(compared, entry, tol):
    one_seed = entry("SBN 200", [113.0])
    with pytest.raises(UserError, match="tolerance"):
        compared(one_seed, one_seed, tol=tol)


def test_cells_that_share_a_run_are_compared_each(compared, entry):
    shared_run = [
        line
        for column in ("NVIL", "WS")
        for line in entry("SBN 200", [113.0, 113.2], column=column, key="shared")
    ]
    comparison = compared(shared_run, shared_run)

    assert [(r.name, r.a.n) for r in comparison.rows] == [
        ("nvil_mnist: SBN 200 / NVIL", 2),
        ("nvil_mnist: SBN 200 / WS", 2),
    ]


def test_the_metrics_of_every_entry_have_one_order(compared, entry):
    """It is the order in which they first appear, whatever their order in one entry."""
    sbn200 = entry("SBN 200", [1.0]) + entry("SBN 200", [2.0], metric="kl")
    two_rows = sbn200 + entry("SBN 500", [2.0], metric="kl") + entry("SBN 500", [1.0])
    assert [r.metric for r in compared(two_rows, two_rows).rows] == ["bound", "kl"] * 2
