"""What a report says about flagged numbers and runs, and how it shows layers."""

from __future__ import annotations

import json

import pytest
from kit.repository import REFERENCE

from vaebench.config.catalogue import load_table
from vaebench.report import table_page
from vaebench.report.compare import compare, render
from vaebench.report.ranking import rank
from vaebench.report.summary import summarize
from vaebench.results.long_frame import read_csv


def line_of(table, frame, row="SBN 200", column="NVIL"):
    """Header -> text of one line of the report, and the notes."""
    page = table_page.make(table, frame)
    lines = (dict(zip(page.grid.headers, line, strict=True)) for line in page.grid.lines)
    return next(r for r in lines if (r["row"], r["column"]) == (row, column)), page.footnotes


@pytest.fixture
def told(table, frame):
    """A function from entries to the line of SBN 200 / NVIL, and the notes."""
    return lambda *entries: line_of(table, frame(*entries))


def test_an_impossible_number_is_none_to_quote(told, entry):
    line, notes = told(entry("SBN 200", [-626.3]))
    assert (line["ours"], line["verdict"], line["difference"]) == ("impossible!", "-", "")
    assert line["notes"] == "1 without a number [1]"
    assert notes[0] == "[1] bound: impossible: -626.30, and of discrete data it is never below 0"
    assert any(note.startswith("!: flagged") for note in notes)


def test_the_other_seeds_stand(told, entry):
    line, notes = told(entry("SBN 200", [113.09, -626.3, 113.11]))
    assert (line["ours"], line["seeds"], line["verdict"]) == (
        "113.10 ± 0.01",
        "2",
        "yes, 2 of 3 seeds",
    )
    assert (
        notes[0]
        == "[1] bound (seed 1): impossible: -626.30, and of discrete data it is never below 0"
    )


def test_an_impossible_number_beside_the_measure(told, entry):
    line, notes = told(
        entry("SBN 200", [113.0]), entry("SBN 200", [-626.3], metric="iw_nll", samples=1000)
    )
    assert (line["ours"], line["IW-NLL"], line["verdict"]) == (
        "113.00 [0.05]",
        "impossible!",
        "n=1",
    )
    assert notes[0].startswith("[1] IW-NLL: impossible: -626.30")


def test_a_number_that_one_case_decides_is_shown_without_a_verdict(told, entry):
    case = {"case": 17, "value": 5000.0, "median": 113.0, "shift": 0.49}
    line, notes = told(entry("SBN 200", [113.5], extra={"one_case": case}))

    assert (line["ours"], line["verdict"], line["difference"]) == ("113.50 [0.05]!", "-", "")
    assert notes[0].startswith("[1] bound: one case: case 17, at 5,000.00, moves the mean by 0.49")


def test_what_is_flagged_is_not_ranked(table, frame, entry):
    rows = [
        entry(row, [value])
        for row, value in (("SBN 200", 113), ("SBN 500", 112), ("fDARN 200", 92))
    ]

    assert [len(r.entries) for r in rank(summarize(table, frame(*rows)))] == [3]

    # Two of the entries are left, which are too few for a ranking.
    rows[2] = entry("fDARN 200", [92], extra={"one_case": {"case": 3, "value": 1e6, "shift": 100}})
    assert rank(summarize(table, frame(*rows))) == ()


def test_a_dead_layer_is_marked_and_keeps_its_verdict(told, entry):
    line, notes = told(
        entry("SBN 200", [113.09, 113.11]),
        entry("SBN 200", [44.46], metric="kl", extra={"layers": [31.1, 13.3, 0.06]}),
        entry("SBN 200", [43.46], metric="kl", extra={"layers": [29.1, 14.3, 0.02]}, first=1),
        entry(
            "SBN 200", [220.0], metric="active_units", extra={"layers": [198, 22, 0]}, unit="units"
        ),
        entry(
            "SBN 200",
            [217.0],
            metric="active_units",
            extra={"layers": [196, 21, 0]},
            unit="units",
            first=1,
        ),
    )

    # Means over both seeds, layer by layer; 0.04 nat of KL is below ``flags.LEAST_KL``.
    assert line["KL"] == "30.1 / 13.8 / 0.04!"
    assert line["active units"] == "197 / 21.5 / 0"
    assert line["verdict"] == "yes"
    assert notes[0] == "[1] KL (seeds 0, 1): dead layer: layer 3 of 3 carries less than 0.1 nat"
    assert any(note.startswith("KL and active units of several latent layers") for note in notes)


def test_a_single_layer_is_shown_as_ever(told, entry):
    line, notes = told(
        entry("SBN 200", [113.0]),
        entry("SBN 200", [44.5], metric="kl", extra={"layers": [44.5]}, error=None),
    )

    assert line["KL"] == "44.50"
    assert not any(note.startswith(("!", "KL and active")) for note in notes)


def test_flags_of_a_training_are_said_once(told, entry):
    astray = json.dumps(["baseline: astray"])
    line, notes = told(
        entry("SBN 200", [113.0], flags=astray),
        entry("SBN 200", [110.0], metric="iw_nll", flags=astray),
    )

    assert (line["ours"], line["verdict"], line["notes"]) == ("113.00 [0.05]", "n=1", "[1]")
    assert [note for note in notes if "astray" in note] == ["[1] training: baseline: astray"]


def test_compare_names_flags(frame, entry):
    good = frame(entry("SBN 200", [113.0]), entry("SBN 200", [110.0], metric="iw_nll"))
    bad = frame(entry("SBN 200", [113.0]), entry("SBN 200", [-626.0], metric="iw_nll"))

    assert compare(good, bad).differs
    assert "only in the first (flagged, second: impossible)" in render(compare(good, bad))
    assert "flagged" not in render(compare(good, good))


@pytest.mark.parametrize("column", ["IW-NLL", "KL"])
def test_results_of_an_earlier_version_are_judged_as_well(column):
    """Numbers as they were recorded before such faults were flagged."""
    table = load_table("nvil_autoreg")
    frame = read_csv(REFERENCE / "nvil_autoreg-short.csv")
    rows = frame[(frame["row"] == "SBN 200-200-500") & (frame["column"] == "autoregressive")]
    extra = {"curve": {"100": -626.3034452967347}, "ess": 2.69, "spread": 743.2068417472224}
    # Put back the numbers as they were once recorded, and drop the flags of today.
    records = rows.assign(flags="").to_dict("records")

    for record in records:
        if record["metric"] == "iw_nll":
            record |= {"value": -626.3034452967347, "error": 0.00711, "extra": json.dumps(extra)}
        if record["metric"] == "kl":
            record |= {"value": 35.62, "extra": json.dumps({"layers": [35.591, 0.0002, 0.033]})}

    from vaebench.results.long_frame import typed

    line, notes = line_of(table, typed(records), "SBN 200-200-500", "autoregressive")
    shown = {"IW-NLL": "impossible!", "KL": "35.6 / 0.00! / 0.03!"}

    assert next(text for header, text in line.items() if header.startswith(column)) == shown[column]
    assert any(note.split("] ")[-1].startswith(f"{column}: ") for note in notes)
