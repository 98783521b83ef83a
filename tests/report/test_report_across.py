"""Tables whose columns are measures of the same runs: a row is one line, and no number is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaebench.config.tables import Column, Row
from vaebench.report import across, table_page

COLUMNS = {"IW": "iw_nll", "-ELBO": "bound", "KL": "kl", "MI": "mi_batch", "NLL (exact)": "nll"}


@pytest.fixture
def wide(table):
    rows = {
        "VAE": Row(
            published={"IW": 329.0, "-ELBO": 329.1, "KL": 0.0, "MI": 0.0},
            columns=("IW", "-ELBO", "KL", "MI"),
        ),
        "LSTM-LM": Row(
            published={"NLL (exact)": 328.0}, columns=("NLL (exact)",), note="no latents"
        ),
        "SA-VAE": Row(
            published={"IW": 329.2, "-ELBO": 329.2, "KL": 0.1}, columns=(), source="Kim et al. 2018"
        ),
        "beta-VAE": Row(published={"IW": 328.7, "KL": 6.3}, columns=("IW", "-ELBO", "KL", "MI")),
    }
    return replace(
        table,
        measure="iw_nll",
        columns={c: Column(measure=m) for c, m in COLUMNS.items()},
        rows=rows,
    )


@pytest.fixture
def runs(entry):
    """A function that gives the frame rows of two seeds of a table row, with all its measures."""

    def make(row, columns, **other):
        numbers = {
            "iw_nll": [328.99, 329.01],
            "bound": [329.99, 330.01],
            "kl": [0.5, 0.7],
            "mi_batch": [0.1, 0.3],
        }
        numbers |= {"mi": [0.02, 0.04], "nll": [328.09, 328.11]}
        metrics = ["nll"] if row == "LSTM-LM" else [m for m in numbers if m != "nll"]
        return [
            e
            for c in columns
            for m in metrics
            for e in entry(row, numbers[m], column=c, metric=m, **other)
        ]

    return make


@pytest.fixture
def told(wide, frame):
    """A function from entries to the lines of a table, header -> text each, and its page."""

    def make(*entries, of=wide):
        page = table_page.make(of, frame(*entries))
        return [dict(zip(page.grid.headers, line, strict=True)) for line in page.grid.lines], page

    return make


def test_which_tables(table, wide):
    assert across.fits(wide)
    assert not across.fits(table)

    # Neither two columns, nor a column with settings of its own.
    two_columns = dict(list(wide.columns.items())[:2])
    assert not across.fits(replace(wide, columns=two_columns))

    with_settings = {**wide.columns, "train": Column(set=("eval.split=train",))}
    assert not across.fits(replace(wide, columns=with_settings))


def test_a_row_is_a_line(told, runs):
    shared = {"key": "vae"}
    lines, page = told(
        runs("VAE", ["IW", "-ELBO", "KL", "MI"], **shared), runs("LSTM-LM", ["NLL (exact)"])
    )

    assert [line["row"] for line in lines] == ["VAE", "LSTM-LM", "SA-VAE", "beta-VAE"]

    vae, lm, literature, not_run = lines

    # A trained row: ours, with the published number in brackets.
    assert vae["IW"] == "329.00 ± 0.01 (329.0)"
    assert vae["-ELBO"] == "330.00 ± 0.01 (329.1)"
    assert vae["KL"] == "0.60 ± 0.10 (0.0)"
    assert vae["MI"] == "0.20 ± 0.10 (0)"

    # No column of the table shows this measure, so it has no published number.
    assert vae["MI (whole set)"] == "0.03 ± 0.01"
    assert vae["seeds"] == "2"
    assert vae["verdict"] == "IW yes; -ELBO no"

    # The exact NLL is a column of the row without latents only.
    assert vae["NLL (exact)"] == ""
    assert lm["NLL (exact)"] == "328.10 ± 0.01 (328)"
    assert lm["verdict"] == "yes"
    assert lm["notes"] == "[1]"

    # Rows without runs show what the paper printed.
    assert literature["verdict"] == "not trained here"
    assert (literature["IW"], literature["KL"]) == ("(329.2)", "(0.1)")
    assert literature["notes"] == "Kim et al. 2018"
    assert (not_run["IW"], not_run["MI"], not_run["notes"]) == ("(328.7)", "", "not run")
    assert "preset" not in page.grid.headers

    legend = (
        "IW: IW-NLL, -ELBO: bound, MI: MI (batches), NLL (exact): exact NLL; "
        "means over seeds in nats"
    )

    assert page.footnotes[1].startswith(legend)
    assert page.footnotes[1].endswith(
        "are of IW, -ELBO, NLL (exact). Lower is better in IW, -ELBO, NLL (exact)."
    )


def test_a_row_that_is_trained_for_another_column_is_trained_here(told, wide, runs):
    row = Row(published={"chain": 84.6}, columns=("IW",), source="a paper")
    lines, _ = told(of=replace(wide, rows={"DBN": row}))
    (line,) = lines

    assert (line["chain"], line["verdict"]) == ("(84.6)", "-")
    assert line["notes"] == "not run; a paper"

    lines, _ = told(runs("DBN", ["IW"]), of=replace(wide, rows={"DBN": row}))
    assert lines[0]["verdict"] == "-"


def test_settings_and_trainings_have_lines_of_their_own(told, runs):
    columns = ["IW", "-ELBO", "KL", "MI"]
    lines, _ = told(
        runs("VAE", columns, key="a"),
        runs("VAE", columns, key="b"),
        runs("VAE", columns, key="c", preset="tuned", label="tuned"),
    )
    vae = [line for line in lines if line["row"] == "VAE"]

    assert [line["preset"] for line in vae] == ["paper", "paper", "tuned"]
    assert all(line[c].count("(") == 1 for line in vae for c in columns)
    assert vae[2]["verdict"] == "IW yes, tuned; -ELBO no, tuned"


def test_lines_are_told_apart_by_their_runs_not_by_their_order(told, runs):
    # Training a has the bound only; training b has both, and comes first in one column.
    iw_of_b = [{**e, "value": e["value"] + 1} for e in runs("VAE", ["IW"], key="b")]
    lines, _ = told(iw_of_b, runs("VAE", ["-ELBO"], key="a"), runs("VAE", ["-ELBO"], key="b"))
    vae = [line for line in lines if line["row"] == "VAE"]

    assert [(line["IW"], line["-ELBO"]) for line in vae] == [
        ("330.00 ± 0.01 (329.0)", "330.00 ± 0.01 (329.1)"),
        ("", "330.00 ± 0.01 (329.1)"),
    ]


def test_what_a_row_has_no_column_for_stands_there_all_the_same(told, wide, runs):
    rows = {
        "VAE": Row(published={"IW": 329.0, "MI": 0.1}, columns=("IW", "-ELBO")),
        "other": wide.rows["VAE"],
    }
    two_rows = replace(wide, rows=rows)
    lines, _ = told(
        runs("VAE", ["IW", "-ELBO"], key="a"), runs("other", ["IW", "KL"], key="b"), of=two_rows
    )

    assert [line["row"] for line in lines] == ["VAE", "other"]
    assert lines[0]["KL"] == "0.60 ± 0.10"
    assert lines[0]["MI"] == "(0.1)"  # published, of a column in which the row is not trained


def test_a_verdict_that_only_some_columns_have_is_told_with_their_names(told, runs):
    entries = runs("VAE", ["IW"], key="a") + [
        {**e, "paper_protocol": False} for e in runs("VAE", ["-ELBO"], key="a")
    ]
    lines, _ = told(entries)

    assert lines[0]["verdict"] == "IW yes; -ELBO -"


def test_a_column_without_a_number_and_a_failed_seed(told, runs, failed):
    columns = ["IW", "-ELBO", "KL", "MI"]
    without_mi = [e for e in runs("VAE", columns, key="a") if e["metric"] != "mi_batch"]
    lost = [e for c in columns for e in failed("VAE", 5, column=c, key="a")]
    lines, page = told(without_mi, lost)

    assert lines[0]["MI"] == "(0)"
    assert lines[0]["IW"].startswith("329.00")
    assert "1 failed" in lines[0]["notes"]
    assert "2 without a number" in lines[0]["notes"]
    assert any("out of memory" in note for note in page.footnotes)


def test_without_published_numbers_there_are_no_brackets(told, wide, runs):
    bare = replace(
        wide, rows={"VAE": Row(published={"IW": None, "KL": None}, columns=("IW", "KL"))}
    )
    # A KL that rounds to 0 has no minus sign.
    negative = [{**e, "value": -0.001} for e in runs("VAE", ["KL"], key="a")]
    lines, page = told(runs("VAE", ["IW"], key="a"), negative, of=bare)

    assert lines[0]["IW"] == "329.00 ± 0.01"
    assert lines[0]["KL"] == "0.00 ± 0.00"
    assert "bracket" not in page.footnotes[0]


def test_without_published_numbers_there_is_no_verdict(table, wide, frame, runs, entry):
    """There is no margin and no column for them either, whether a line is a row or an entry."""
    for shown, lines in (
        (wide, runs("VAE", ["IW", "KL"], key="a")),
        (table, entry("SBN 200", [1.0, 2.0])),
    ):
        bare = replace(shown, rows={k: replace(row, published={}) for k, row in shown.rows.items()})
        pages = [table_page.make(t, frame(lines)) for t in (shown, bare)]
        for words in ("verdict", "published", "margin"):
            is_shown = [
                any(words in text for text in (*p.grid.headers, *p.footnotes)) for p in pages
            ]
            assert is_shown == [True, False], words


def test_nothing(told, wide):
    lines, _ = told()
    assert [line["notes"] for line in lines] == [
        "not run",
        "not run [1]",
        "Kim et al. 2018",
        "not run",
    ]
    assert told(of=replace(wide, rows={}))[0] == []


def test_the_spread_of_the_papers_runs_stands_beside_its_number(told, wide, runs):
    rows = {**wide.rows, "VAE": replace(wide.rows["VAE"], spread={"IW": 0.1, "KL": 0.0})}
    lines, page = told(
        runs("VAE", ["IW", "-ELBO", "KL", "MI"], key="vae"), of=replace(wide, rows=rows)
    )

    assert (lines[0]["IW"], lines[0]["KL"]) == (
        "329.00 ± 0.01 (329.0 ± 0.1)",
        "0.60 ± 0.10 (0.0 ± 0.0)",
    )
    assert lines[0]["-ELBO"] == "330.00 ± 0.01 (329.1)"
    assert any("standard deviation over the paper's runs" in line for line in page.footnotes)
    assert not any("paper's runs" in line for line in told()[1].footnotes)
