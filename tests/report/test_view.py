"""How much of a report is shown and how wide: brief ones, notes once, narrow terminals,
results on other data."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from kit.repository import REFERENCE

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.report import recorded, render, table_page
from vaebench.report.page import Grid, said_once
from vaebench.report.text import grid

SHORT = REFERENCE / "nvil_mnist-short.csv"


@pytest.fixture(scope="module")
def nvil():
    return catalogue.load_table("nvil_mnist")


@pytest.fixture(scope="module")
def short():
    return recorded.read([SHORT])


def test_a_brief_report_is_the_table_and_its_marks(nvil, short):
    full = render(nvil, short)
    brief = render(nvil, short, brief=True)

    assert "124.72" in brief
    assert "500 units next to the data" in brief  # what [1] stands for

    for text in ("ours: bound", "margin: 0.5", "initial values", "preset short", "Kendall"):
        assert text in full
        assert text not in brief


def test_a_brief_report_of_a_row_is_a_few_lines(capsys):
    arguments = [
        "report",
        "table=nvil_mnist",
        "--from",
        str(SHORT),
        "--only",
        "SBN 200",
        "--only",
        "column=NVIL",
    ]

    assert main([*arguments, "--brief"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5  # title, blank, header, rule, row

    assert main(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) > 20


def test_a_note_stands_once(nvil, short):
    """In one page, and in the pages of several tables."""
    lines = render(nvil, short, "md").splitlines()
    notes = [line for line in lines if line.startswith("- ")]

    assert len(notes) == len(set(notes))

    page = table_page.make(nvil, short)
    first_page, second_page = said_once([page, page])

    assert first_page == page
    assert second_page.footnotes == page.marks  # what the numbers stand for
    assert page.marks


def test_tables_of_one_report_share_their_notes(capsys):
    sources = ["--from", str(SHORT), "--from", str(REFERENCE / "nvil_variance-short.csv")]
    assert main(["report", "table=nvil_mnist,nvil_variance", "preset=short", *sources]) == 0
    out = capsys.readouterr().out

    assert out.count("[..] after a number") == 1


@pytest.mark.parametrize("name", ["nvil_mnist-short", "lagging_yahoo-small"])
def test_a_report_fits_the_terminal(name, monkeypatch, capsys):
    source = REFERENCE / f"{name}.csv"
    arguments = ["report", f"table={name.partition('-')[0]}", "--from", str(source)]

    assert main(arguments) == 0
    full = capsys.readouterr().out
    assert max(map(len, full.splitlines())) > 120  # a file or a pipe gets every line whole

    # A narrow report has the same numbers as one of full width.
    numbers = set(re.findall(r"\d+\.\d+", full))
    assert len(numbers) > 50

    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(arguments) == 0
        out = capsys.readouterr().out

        assert max(map(len, out.splitlines())) <= columns
        assert set(re.findall(r"\d+\.\d+", out)) == numbers


def test_a_file_is_written_as_wide_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    path = tmp_path / "out.txt"

    assert main(["report", "table=nvil_mnist", "--from", str(SHORT), "--output", str(path)]) == 0
    assert max(map(len, path.read_text().splitlines())) > 100


def test_a_broken_grid_loses_nothing():
    cells = (("a", "1" * 20, "2" * 20, ""), ("b", "3" * 20, "", "some words that say why"))
    wide = Grid(
        ("row", "first", "second", "notes"), cells, ("left", "right", "right", "left"), leading=1
    )
    narrow = grid(wide, 40)

    assert max(map(len, narrow.splitlines())) <= 40
    assert all(part in narrow for line in cells for part in line)
    # Three parts, each with the column of the row names.
    assert narrow.count("row") == 3
    assert narrow.count("\na ") == 2  # row a has nothing in the last part
    assert grid(wide, 200) == grid(wide)


# --------------------------------------------------------------------------------------- other data


def on(frame, data):
    """The same results as if measured on another data set."""
    signatures = frame["signature"].str.replace(r"data:[^|]*", f"data:{data}@12345678", regex=True)
    return frame.assign(signature=signatures, paper_protocol=False)


@pytest.mark.parametrize("brief", [False, True])
def test_results_on_other_data_stand_alone(nvil, short, brief):
    """No published number, literature, margin or ledger beside them; one note says so,
    in a brief report too."""
    shown = render(nvil, on(short, "text"), brief=brief)
    assert "124.72" in shown

    for text in (
        "113.1",
        "86.3",
        "published",
        "margin: 0.5",
        "initial values",
        "difference",
        "verdict says",
    ):
        assert text not in shown

    assert " ".join(shown.split()).count("data: text, not the paper's mnist_static") == 1
    assert "table=nvil_mnist" in shown


def test_a_run_on_other_data_without_measures_stands_alone(nvil, short):
    """It was interrupted, or its result is damaged. Its key still names its data."""
    keys = short["key"].str.replace("mnist_static-", "text-", regex=False)
    partial = short.assign(
        key=keys,
        signature="",
        metric="",
        status="partial",
        paper_protocol=False,
        value=float("nan"),
        extra="",
        flags="",
    )
    shown = render(nvil, partial, brief=True)

    assert "113.1" not in shown
    assert "data: text, not the paper's mnist_static" in " ".join(shown.split())


def test_results_on_the_papers_data_keep_its_numbers(nvil, short):
    other_evaluation = short.assign(paper_protocol=False)
    assert "113.1" in render(nvil, other_evaluation)

    # One row on the paper's data is enough for the paper's numbers.
    partly_on_digits = short.copy()
    partly_on_digits.loc[partly_on_digits["row"] != "SBN 200"] = on(short, "digits").loc[
        partly_on_digits["row"] != "SBN 200"
    ]

    assert "113.1" in render(nvil, partly_on_digits)
    assert "113.1" in render(nvil, short[:0])  # nothing was run: what the paper printed


def test_the_ledger_is_the_tables_own(nvil, short):
    assert "initial values" in render(nvil, short)
    assert "initial values" not in render(replace(nvil, ledger=()), short)
