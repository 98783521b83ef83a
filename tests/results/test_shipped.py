"""The results that vaebench ships, and the word ``reference`` that stands for them."""

from __future__ import annotations

import csv

import pytest
from kit.commands import call

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.results import shipped

SHORT = shipped.folder() / "nvil_mnist-short.csv"
RECORDED = {
    name: found
    for name in catalogue.options("table")
    if (found := shipped.recorded_presets(name, SHORT.parent))
}


def test_a_file_holds_the_table_and_the_preset_of_its_name():
    assert len(RECORDED) > 10

    for table, presets in RECORDED.items():
        # ``shipped.files`` also gives files of tables whose entries this one shows.
        paths = [path for path in shipped.files([table]) if path.name.startswith(f"{table}-")]
        for preset, path in zip(presets, paths, strict=True):
            with path.open(encoding="utf-8", newline="") as f:
                assert {(r["table"], r["preset"]) for r in csv.DictReader(f)} == {(table, preset)}


def test_every_results_csv_is_found():
    """A file under another name would never be read."""
    # Only results have these two columns; curves and points have not.
    results_csvs = [
        p
        for p in SHORT.parent.glob("*.csv")
        if "seconds,eval_seconds" in p.read_text().partition("\n")[0]
    ]

    assert sorted(results_csvs) == sorted(
        {path for table in RECORDED for path in shipped.files([table])}
    )


def test_what_is_not_there_is_one_line(monkeypatch):
    with pytest.raises(
        UserError, match=r"^reference: no results of dvae_pp_rbm; allowed: .*nvil_mnist"
    ):
        shipped.files(["dvae_pp_rbm"])
    with pytest.raises(
        UserError,
        match=r"^reference: no results of nvil_mnist with preset=quick: allowed: long, paper",
    ):
        shipped.files(["nvil_mnist"], ["quick"])

    monkeypatch.setattr(shipped, "folder", lambda: None)
    with pytest.raises(UserError, match=r"^reference: this installation lacks"):
        shipped.files(["nvil_mnist"])


def test_a_report_of_the_word_is_that_of_the_files(capsys):
    by_word = call(capsys, "report", "table=nvil_mnist", "preset=short", "--from", "reference")
    files = [word for path in shipped.files(["nvil_mnist"], ["short"]) for word in ("--from", path)]

    assert str(SHORT) in map(str, files)
    assert by_word == call(capsys, "report", "table=nvil_mnist", "preset=short", *files)
    assert "SBN 200" in by_word[1]

    code, out, err = call(
        capsys, "report", "table=nvil_mnist", "preset=quick", "--from", "reference"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_curves_are_those_that_stand_beside_the_results(tmp_path, capsys):
    points = tmp_path / "curves.csv"
    words = ("table=nvil_variance", "preset=short", "--from", "reference", "--curves", points)

    assert call(capsys, "report", *words)[0] == 0
    assert points.read_bytes() == (SHORT.parent / "nvil_variance-short-curves.csv").read_bytes()


def test_compare_takes_the_tables_and_presets_of_the_other_side(tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    mine.write_bytes(SHORT.read_bytes())

    assert call(capsys, "compare", mine, "reference") == call(capsys, "compare", mine, SHORT)

    assert call(capsys, "compare", "reference", mine)[0] == 0


def test_compare_finds_what_other_tables_train(tmp_path, capsys):
    """Results of a table that shows entries of others are held against these, under
    the names of the table."""
    mine = tmp_path / "mine.csv"
    words = (
        "table=nvil_mnist",
        "preset=paper",
        "--from",
        "reference",
        "--only",
        "row=MoB 500",
        "--format",
        "csv",
        "--output",
        mine,
    )

    assert call(capsys, "report", *words)[0] == 0
    assert "nvil_mnist,MoB 500," in mine.read_text()

    code, out, _ = call(capsys, "compare", mine, "reference", "--only", "row=MoB 500")
    assert code == 0
    assert out.count("within errors") == 2


def test_compare_sees_a_value_that_differs(tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    text = SHORT.read_text()
    value = next(csv.DictReader(text.splitlines()))["value"]
    mine.write_text(text.replace(value, str(float(value) + 100), 1))

    assert call(capsys, "compare", mine, "reference")[0] == 1


def test_the_word_on_both_sides_is_refused(capsys):
    code, out, err = call(capsys, "compare", "reference", "reference")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "name a file of your own" in err


def test_show_names_the_paper_s_csv_where_it_is(capsys):
    path = shipped.folder("published") / "nvil_table1.csv"
    assert path.is_file()
    assert f"numbers  {path}, as published" in call(capsys, "show", "table=nvil_mnist")[1]
