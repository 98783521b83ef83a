"""The same summary in every format: nothing lost, everything escaped."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vaebench.errors import UserError
from vaebench.report import FORMATS, latex, markdown, render
from vaebench.results.long_frame import csv_text, read_csv


@pytest.fixture
def filled(frame, entry, failed):
    return frame(
        entry("SBN 200", [113.19, 113.21], preset="tuned", label="tuned"),
        entry(
            "SBN 200", [110.0, 111.0], metric="iw_nll", samples=1000, preset="tuned", label="tuned"
        ),
        failed("SBN 200", 2, preset="tuned", label="tuned"),
        entry("SBN 200", [121.0], column="WS", preset="tuned", label="tuned"),
        entry(
            "SBN 500",
            [112.19, 112.21],
            preset="tuned",
            label="tuned",
            pack=5,
            device="cuda (NVIDIA H200)",
        ),
    )


@pytest.fixture
def flat(table, frame):
    """A function from entries to the report as text, in one line."""
    return lambda *entries, of=table: " ".join(render(of, frame(*entries)).split())


def test_text(table, filled):
    text = render(table, filled, "text")
    lines = text.splitlines()

    assert lines[0] == "Binarized MNIST (Table 1, mnih2014nvil)"

    # Cells are at least two blanks apart.
    header = (
        "row,column,published,ours,seeds,difference,verdict,IW-NLL "
        "(K=1000),updates,time,device,notes"
    )

    assert ",".join(re.split(r"\s{2,}", lines[2].strip())) == header

    first_row = (
        "SBN 200;NVIL;113.1;113.20 ± 0.01;2;+0.10;yes, tuned, 2 of 3 seeds;110.5 ± "
        "0.5;200,000;10.0 min;cpu;"
    )

    assert ";".join(re.split(r"\s{2,}", lines[4].strip())) == first_row + "1 failed [1]"
    assert re.search(r"10\.0 min  cuda +\[2\]$", lines[6])
    assert "121.00 [0.05]" in lines[5]
    assert "n=1, tuned" in lines[5]
    assert "better, tuned" in lines[6]
    assert "not trained here" in lines[8]
    assert "Larochelle & Murray 2011" in lines[8]

    # The notes, which are broken into lines at any word.
    flat = " ".join(text.split())
    for said in (
        "[1] seed 2 failed: RuntimeError: out of memory",
        "margin: 0.5 nats: seeds differ by 0.2 nats",
        "±: standard error of the mean over the seeds",
        "the Monte Carlo error of its evaluation",
        "rates for this table",
        "not the paper's recipe",
        "The paper lists the deepest layer first.",
        "k of n seeds: the others failed or diverged",
        "up to 5 seeds ran side by side (cpu; cuda (NVIDIA H200))",
        "Kendall's tau of the two orders of bound, mnist_static, test: 1.00 (3 entries; 1: the "
        "same order); one seed for 1 of the entries",
    ):
        assert said in flat

    assert lines[-2:] == [
        (
            "where the paper is silent or differs, at preset=paper (vaebench show "
            "table=nvil_mnist says why):"
        ),
        "summed or averaged gradients: summed",
    ]
    assert "no: higher" not in flat  # no such verdict in this table
    assert "effective sample size" not in flat  # none was stored
    assert "\x1b" not in text


def test_samples_of_the_importance_weighted_nll(flat, table, entry):
    def rows(row, samples, ess):
        numbers = entry(
            row, [109.94], metric="iw_nll", samples=samples, extra={"ess": ess}, error=0.01
        )
        return [*entry(row, [113.0]), *numbers]

    same_samples = rows("SBN 200", 1000, 12.0) + rows("SBN 500", 1000, 4.5)
    text = flat(same_samples)

    assert " IW-NLL (K=1000) " in text
    assert "109.94 [0.01]" in text
    assert "[0.01] K=" not in text
    assert (
        "the smallest mean effective sample size of a row is 4.5 of K=1000; where it "
        "is low, more samples"
    ) in text
    assert "errors recorded by the delta method, which are too small" in text

    jackknife = [
        {**line, "extra": line["extra"].replace("}", ', "error_by": "jackknife"}')}
        for line in same_samples
    ]

    assert "delta method" not in flat(jackknife)

    # If the rows have different numbers of samples, the number stands beside each value, not in
    # the header.
    other_samples = flat(rows("SBN 200", 1000, 12.0), rows("SBN 500", 100, 60.0))
    assert " IW-NLL updates " in other_samples
    assert "109.94 [0.01] K=1000" in other_samples
    assert "109.94 [0.01] K=100 " in other_samples
    assert "of a row is 12.0 of K=1000" in other_samples
    assert "of a row is 4.5 of K=1000" in flat(same_samples, of=replace(table, measure="iw_nll"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (0.0, "1234.57 [0.00]"),
        (0.004, "1234.57 [<0.01]"),
        (0.012, "1234.57 [0.01]"),
        (0.354, "1234.57 [0.35]"),
        (0.36, "1234.6 [0.4]"),
        (0.96, "1234.6 [1.0]"),
        (1.234, "1234.6 [1.2]"),
        (3.6, "1235 [4]"),
        (36.0, "1230 [40]"),
    ],
)
def test_a_number_has_the_digits_that_its_error_supports(table, frame, entry, error, text):
    f = frame(entry("SBN 200", [1234.567], error=error))
    assert text in render(table, f)
    assert "1234.567" in render(table, f, "csv")


def test_ranking_is_shown_for_one_setting_only(table, filled, frame, entry):
    import pandas as pd

    for name in ("text", "md", "latex", "html"):
        assert render(table, filled, name).count("tau of the two orders") == 1
        mixed = pd.concat([filled, frame(entry("SBN 200", [113.0]))], ignore_index=True)
        assert "tau of the two orders" not in render(table, mixed, name)


def test_text_of_nothing(table, frame):
    text = render(table, frame())
    assert text.count("not run") == 4
    assert "±" not in text
    assert "Kendall" not in text
    assert render(replace(table, rows={}), frame()).startswith("Binarized MNIST")


def test_markdown_escapes_pipes(table, filled):
    text = render(table, filled, "md")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # Header, rule and five rows of the table; then the table of the order.
    rows = lines[: 2 + 5]
    order = lines[2 + 5 :]

    # Twelve columns have 13 bars; an escaped one does not count.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {13}
    assert order[:3] == [
        "| order, lowest first | published | ours |",
        "| --- | ---: | ---: |",
        "| SBN 500 / NVIL | 1 | 1 |",
    ]
    assert len(order) == 2 + 3
    assert (
        text.index(rows[-1])
        < text.index(order[0])
        < text.index("Kendall's tau")
        < text.index("- ours: bound")
    )
    assert r"NADE\_500 \| 100%" in rows[-1]
    assert markdown.escape("a|b\n*c* `d` <e> [1]") == r"a\|b \*c\* \`d\` \<e> \[1\]"


def test_latex_escapes(table, filled):
    text = render(table, filled, "latex")
    assert r"NADE\_500 \textbar{} 100\% & NLL & 88.9" in text
    assert r"Larochelle \& Murray 2011" in text
    assert r"113.20 $\pm$ 0.01" in text
    assert "$-0.60$" in text

    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert text.count(command) == 2  # the table, the order of its rows

    assert text.count(r"\end{table}") == 1
    assert r"SBN 500 / NVIL & 1 & 1 \\" in text

    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(body) == 5
    # Twelve columns have 11 separators; an escaped one does not count.
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {11}
    assert not re.search(r"(?<!\\)[%#_]", text)
    assert latex.escape("\\ {a} $1 & #2 ^ _ ~ % <x>") == (
        r"\textbackslash{} \{a\} \$1 \& \#2 \textasciicircum{} \_ \textasciitilde{} \% "
        r"\textless{}x\textgreater{}"
    )


def test_html_escapes(table, filled):
    table = replace(table, title="<script>alert(1)</script> & more")
    text = render(table, filled, "html")

    assert "<script>" not in text
    assert "&lt;script&gt;" in text

    table, order = re.findall(r"<table>.*?</table>", text, re.S)
    # A header and five rows of twelve cells; a header and three places of the order.
    assert table.count("<tr>") == 1 + 5
    assert table.count("<td") == 5 * 12
    assert order.count("<tr>") == 1 + 3


def test_csv_is_the_long_frame(table, filled, tmp_path):
    from pandas.testing import assert_frame_equal

    path = tmp_path / "x.csv"
    path.write_text(render(table, filled, "csv"))

    assert_frame_equal(read_csv(path), filled, check_exact=True)
    assert path.read_text() == csv_text(filled)
    assert render(table, read_csv(path), "text") == render(table, filled, "text")


def test_unknown_format(table, frame):
    with pytest.raises(UserError, match="did you mean 'latex'"):
        render(table, frame(), "latx")
    for name in FORMATS:
        assert render(table, frame(), name).strip()


def test_repeated_evaluations_stand_below_the_table(flat, entry):
    """Of two seeds: means over seeds of their means and variances."""
    repeats_by_seed = [
        {"values": [113.0, 113.2], "mean": 113.1, "variance": 0.02},
        {"values": [1, 2], "mean": 112.1, "variance": 0.04},
    ]
    rows = [
        line
        for seed, repeats in enumerate(repeats_by_seed)
        for line in entry("SBN 200", [113.0], first=seed, extra={"repeats": repeats})
    ]

    assert "SBN 200, NVIL: 2 evaluations of each of 2 seeds, mean 112.60, variance 0.03." in flat(
        rows
    )
    assert "evaluations" not in flat(entry("SBN 200", [113.0, 112.0]))


def test_a_part_of_the_test_cases_is_named_with_what_it_costs(flat, entry):
    def text(**more):
        return flat(entry("SBN 200", [113.0], **more))

    note = "test cases: 500 only. As one of the whole set a value is known to ± 1.04 nats at most"
    assert note in text(points=500, extra={"spread": 1.036})
    assert "test cases" not in text(extra={"spread": 1.036})  # all of them
    assert "test cases" not in text(points=500)  # not known


def test_errors_below_the_table_are_the_largest_of_its_rows(flat, entry):
    """The effective sample size is the smallest."""
    small = {"spread": 1.036, "log_z_error": 0.012, "unknown": 0.01, "ess": 90.0}
    large = {"spread": 2.071, "log_z_error": 0.034, "unknown": 0.02, "ess": 3.0}

    for first, second in ((small, large), (large, small)):
        lines = []
        for row, extra in (("SBN 200", first), ("SBN 500", second)):
            lines += entry(row, [113.0], points=500, extra=extra)
            lines += entry(row, [111.0], points=500, metric="iw_nll", extra=extra)

        report = flat(lines)
        assert "known to ± 2.07 nats at most" in report
        assert "a standard error of at most 0.034 nats" in report
        assert "<unk>: up to 2.0% of" in report
        assert "effective sample size of a row is 3.0 of K=10" in report


def test_more_test_cases_than_there_are_is_all_of_them(flat, entry):
    """The signature has the ``points`` that were asked for, the column how many there were."""

    def text(asked, there):
        lines = entry("SBN 200", [113.0], points=asked, extra={"spread": 1.036})
        return flat([{**line, "points": there} for line in lines])

    assert "test cases" not in text(1_000_000, 10_000)
    assert "test cases: 500 only" in text(500, 500)
