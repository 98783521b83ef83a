"""Results read back from files: byte order marks, contradictions, a choice of rows, figures of
recorded points."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pytest
from kit.commands import call
from kit.repository import REFERENCE

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.report import recorded
from vaebench.results import long_frame

SHORT = REFERENCE / "nvil_mnist-short.csv"
PAPER = REFERENCE / "nvil_mnist-paper.csv"
TUNED = REFERENCE / "nvil_mnist-tuned.csv"
YAHOO = REFERENCE / "lagging_yahoo-small.csv"
SYNTHETIC = REFERENCE / "lagging_synthetic-paper.csv"


def changed(tmp_path: Path, old: str, new: str, name: str = "changed.csv") -> Path:
    """Return a copy of SHORT in which the first ``old`` is ``new``."""
    text = SHORT.read_text()
    assert old in text

    path = tmp_path / name
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path, capsys):
    marked = tmp_path / "marked.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + SHORT.read_bytes())

    pd.testing.assert_frame_equal(long_frame.read_csv(marked), long_frame.read_csv(SHORT))

    assert call(capsys, "compare", marked, SHORT)[0] == 0


# ----------------------------------------------------------------------------------- contradictions


@pytest.fixture
def row() -> pd.Series:
    return long_frame.read_csv(SHORT).iloc[0]


def test_two_values_of_one_number_are_refused_in_a_file(tmp_path, capsys, row):
    frame = long_frame.read_csv(SHORT)
    path = tmp_path / "twice.csv"
    long_frame.write_csv(pd.concat([frame, frame.iloc[:1].assign(value=row["value"] + 1)]), path)
    code, out, err = call(capsys, "report", "table=nvil_mnist", "--from", path)

    assert (code, out, err.count("\n")) == (2, "", 1)

    for text in (
        str(path),
        "SBN 200 / NVIL (preset short) seed 0, bound",
        str(row["value"]),
        str(row["value"] + 1),
    ):
        assert text in err

    assert call(capsys, "compare", path, SHORT)[:2] == (2, "")


def test_two_values_of_one_number_are_refused_between_files(tmp_path, capsys, row):
    path = changed(tmp_path, str(row["value"]), str(row["value"] + 1))
    code, out, err = call(capsys, "report", "table=nvil_mnist", "--from", SHORT, "--from", path)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (
        f"{SHORT}, {path}: nvil_mnist: SBN 200 / NVIL (preset short) seed 0, "
        "bound stands there twice"
    ) in err


def test_files_of_unlike_protocols_are_told_and_not_judged(tmp_path, capsys):
    """A run that was measured anew with other samples: both numbers are there, and
    neither has a verdict."""
    frame = long_frame.read_csv(PAPER)
    measured_anew = frame[(frame["row"] == "SBN 200-200") & (frame["seed"] == 0)]
    signatures = measured_anew["signature"].str.replace("|samples:10|", "|samples:5|", regex=False)
    path = tmp_path / "anew.csv"
    long_frame.write_csv(measured_anew.assign(signature=signatures), path)

    # The last cell of the row is its verdict.
    arguments = ["report", "table=nvil_mnist", "--only", "SBN 200-200", "--only", "column=NVIL"]
    arguments += ["--brief", "--from", PAPER]
    out = call(capsys, *arguments)[1]

    assert "measured under" not in out
    assert row_of(out, "SBN 200-200").split()[-1] == "yes"

    out = call(capsys, *arguments, "--from", path)[1]
    assert (
        "no verdict: measured under different protocols (samples:10 against samples:5)"
        in " ".join(out.split())
    )
    # Only the numbers of notes follow the verdict.
    assert row_of(out, "SBN 200-200").split()[-2] == "-"


def row_of(report: str, name: str) -> str:
    """The only line of a report that begins with this name of a row."""
    (line,) = [line for line in report.splitlines() if line.startswith(f"{name} ")]
    return line


def test_two_states_of_one_run_are_refused():
    frame = long_frame.read_csv(SHORT)
    done_and_failed = pd.concat(
        [frame, frame.iloc[:1].assign(status="failed", metric="", value=float("nan"))]
    )

    with pytest.raises(UserError, match="seed 0 stands there twice: status done and status failed"):
        recorded.refuse_conflicts(done_and_failed, "x.csv")


def test_the_same_twice_is_no_contradiction(capsys):
    """The same line again, also with another time."""
    frame = long_frame.read_csv(SHORT)
    recorded.refuse_conflicts(pd.concat([frame, frame, frame.assign(seconds=1.0)]), "x.csv")
    once = call(capsys, "report", "table=nvil_mnist", "--from", SHORT)

    assert call(capsys, "report", "table=nvil_mnist", "--from", SHORT, "--from", SHORT) == once


@pytest.mark.parametrize(
    "path", [p for p in sorted(REFERENCE.glob("*-*.csv")) if p.stem.count("-") == 1], ids=str
)
def test_recorded_results_hold_no_contradiction(path):
    if path.stem != "bench-cpu":
        recorded.read([path])


# ---------------------------------------------------------------------------------- choices of rows


def test_report_of_some_recorded_rows(capsys):
    code, out, err = call(
        capsys,
        "report",
        "table=nvil_mnist",
        "--from",
        SHORT,
        "--only",
        "SBN 200",
        "--format",
        "csv",
    )

    assert (code, err) == (0, "")
    assert {line.split(",")[1] for line in out.splitlines()[1:]} == {"SBN 200"}

    text = call(
        capsys,
        "report",
        "table=nvil_mnist",
        "--from",
        SHORT,
        "--only",
        "column=WS",
        "--only",
        "SBN 200",
    )[1]

    # SBN 200 / WS and nothing else: neither SBN 200 / NVIL nor the paper's literature.
    assert "125.86" in text
    assert "124.72" not in text
    assert "NADE" not in text


def test_report_of_rows_that_are_not_recorded(capsys):
    only = ["--only", "SBN 200-200-500", "--from", TUNED]
    code, out, err = call(capsys, "report", "table=nvil_mnist", *only)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "nothing of table nvil_mnist by that choice, preset and seeds" in err


def test_what_is_said_of_many_files_is_short(capsys):
    code, _, err = call(
        capsys, "report", "table=combined_mnist", "--from", "reference", "--only", "DBN 2hl"
    )
    assert code == 2
    assert re.search(
        r"rbm_mnist-\w+\.csv and \d+ more: nothing of table combined_mnist by that choice", err
    )
    assert err.count(".csv") == 1


def test_a_word_that_is_almost_reference(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "report", "table=nvil_mnist", "--from", "refrence")

    assert code == 2
    assert err.startswith("vaebench: refrence: no such file; did you mean 'reference'? allowed:")


def test_compare_of_some_rows(tmp_path, capsys, row):
    changed_file = changed(tmp_path, str(row["value"]), str(row["value"] + 9))  # SBN 200 / NVIL
    assert call(capsys, "compare", SHORT, changed_file)[0] == 1
    assert call(capsys, "compare", SHORT, changed_file, "--only", "SBN 500")[0] == 0
    assert call(capsys, "compare", SHORT, changed_file, "--only", "column=WS")[0] == 0
    assert (
        call(
            capsys, "compare", SHORT, changed_file, "--only", "row=SBN 200", "--only", "column=NVIL"
        )[0]
        == 1
    )

    code, out, err = call(capsys, "compare", SHORT, changed_file, "--only", "row=SBN 20")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "did you mean 'SBN 200'" in err


def test_compare_of_common_rows(tmp_path, capsys):
    """A file with fewer rows differs, unless only what both have counts; what
    was left out is counted."""
    frame = long_frame.read_csv(SHORT)
    sbn200_csv = tmp_path / "few.csv"
    long_frame.write_csv(frame[frame["row"] == "SBN 200"], sbn200_csv)

    assert call(capsys, "compare", SHORT, sbn200_csv)[0] == 1

    code, out, _ = call(capsys, "compare", SHORT, sbn200_csv, "--common")
    assert code == 0
    assert "SBN 500" not in out
    assert " in one side only left out: " in out

    # Nothing is in common.
    long_frame.write_csv(frame[frame["row"] == "SBN 500"], tmp_path / "other.csv")
    code, out, err = call(capsys, "compare", sbn200_csv, tmp_path / "other.csv", "--common")

    assert (code, out, err.count("\n")) == (2, "", 1)


# ------------------------------------------------------------------------------------------ figures


def test_curves_of_recorded_rows(tmp_path, capsys):
    """They are those that were recorded, to the digit, of the chosen rows only."""
    points = tmp_path / "c.csv"
    picture = tmp_path / "c.svg"
    arguments = [
        "report",
        "table=nvil_mnist",
        "--from",
        SHORT,
        "--only",
        "SBN 200",
        "--curves",
        points,
        "--plot",
        picture,
    ]

    assert call(capsys, *arguments)[0] == 0
    header, *lines = (REFERENCE / "nvil_mnist-short-curves.csv").read_text().splitlines()
    assert points.read_text().splitlines() == [
        header,
        *(line for line in lines if line.split(",")[1] == "SBN 200"),
    ]
    assert picture.read_text().startswith("<?xml")


def test_points_of_a_column_that_shares_its_run():
    """The posterior means of a run stand under the first of its columns. KL of one row is chosen,
    and the points are those of this row, as they stand in the file."""
    name = "aggressive, usual start, no dropout"
    files = recorded.read_files([str(SYNTHETIC)], [])
    frame = files.frame
    kl_of_a_row = frame[(frame["row"] == name) & (frame["column"] == "KL")]
    points = files.points("means", kl_of_a_row)

    in_the_file = pd.read_csv(REFERENCE / "lagging_synthetic-paper-means.csv")
    of_the_row = in_the_file[in_the_file["row"] == name]

    assert set(of_the_row["column"]) == {"IW"}
    assert points["row"].unique().tolist() == [name]
    assert points["model"].tolist() == of_the_row["model"].tolist()


@pytest.mark.parametrize(
    ("figure", "columns"),
    [("information", {"kl", "mi", "rest"}), ("units", {"iw_nll", "active_units"})],
)
def test_other_figures_of_recorded_rows(figure, columns):
    source = REFERENCE / "lagging_yahoo-small.csv"
    files = recorded.read_files([str(source)], [])
    points = files.points(figure, files.frame)

    assert columns <= set(points.columns)
    assert points[sorted(columns)].notna().all().all()


def test_curves_of_one_preset_among_several_files(tmp_path, capsys):
    arguments = [
        "report",
        "table=nvil_mnist",
        "--from",
        SHORT,
        "--from",
        TUNED,
        "--curves",
        tmp_path / "c.csv",
    ]
    code, out, err = call(capsys, *arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "one preset at a time" in err

    # With a preset it is the recorded file, byte for byte.
    assert call(capsys, *arguments, "preset=tuned")[0] == 0
    recorded_lines = (REFERENCE / "nvil_mnist-tuned-curves.csv").read_text()
    assert (tmp_path / "c.csv").read_text() == recorded_lines


def test_what_was_not_recorded_is_named(tmp_path, capsys):
    lonely = tmp_path / "lonely.csv"
    lonely.write_bytes(SHORT.read_bytes())
    arguments = ["report", "table=nvil_mnist", "--from", lonely, "--plot", tmp_path / "p.png"]
    code, out, err = call(capsys, *arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "lonely-curves.csv" in err

    # A file of curves that lacks columns.
    (tmp_path / "lonely-curves.csv").write_text(
        "table,row,column,seed,update\nnvil_mnist,SBN 200,NVIL,0,x\n"
    )
    code, out, err = call(capsys, *arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "missing columns seconds, train_bound, valid_bound" in err
    assert not (tmp_path / "p.png").exists()


# ------------------------------------------------------------------------- rows that a figure lacks


def drawing_of_yahoo(figure: str, path: Path) -> list[str | Path]:
    """Return the arguments that draw a figure of the recorded Yahoo runs into ``path``."""
    words = ["report", "table=lagging_yahoo", "preset=small"]
    return [*words, "--from", YAHOO, "--figure", figure, "--plot", path]


@pytest.mark.parametrize("figure", ["units", "information"])
def test_a_figure_names_the_rows_that_have_no_run(figure, tmp_path, capsys):
    """Figures 4 and 5 of He et al. from recorded results draw or name each row with latents."""
    path = tmp_path / "x.svg"
    arguments = drawing_of_yahoo(figure, path)

    assert call(capsys, *arguments)[0] == 0
    drawn, absent = shown_and_absent(path)
    table = catalogue.load("lagging_yahoo")
    # Only rows with latents have active units (AU).
    latent_rows = {row for row, column in table.trained() if column == "AU"}
    rows_with_runs = set(long_frame.read_csv(YAHOO)["row"])

    assert absent == [row for row in table.rows if row in latent_rows - rows_with_runs]
    assert drawn >= latent_rows & rows_with_runs
    assert "LSTM-LM" not in drawn | set(absent)

    # Rows that were not chosen are not missing.
    assert call(capsys, *arguments, "--only", "VAE", "--only", "aggressive")[0] == 0
    drawn, absent = shown_and_absent(path)
    assert (drawn & latent_rows, absent) == ({"VAE", "aggressive"}, [])


def test_a_figure_of_all_rows_names_none(tmp_path, capsys):
    arguments = [*drawing_of_yahoo("bound", tmp_path / "x.svg"), "--only", "LSTM-LM"]

    assert call(capsys, *arguments)[0] == 0
    assert shown_and_absent(tmp_path / "x.svg")[1] == []


def shown_and_absent(path: Path) -> tuple[set[str], list[str]]:
    """Return the texts of an SVG, which Matplotlib writes as comments, and the rows without a run.

    The figure names these rows in a note, which may be broken into several texts, before its title.
    """
    texts = [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", path.read_text(), re.S)]
    notes = [i for i, text in enumerate(texts) if text.startswith("no run: ")]
    if not notes:
        return set(texts), []

    (note,) = notes
    title = next(i for i in range(note, len(texts)) if texts[i].startswith("Aggressive training"))
    return set(texts), " ".join(texts[note:title]).removeprefix("no run: ").split("; ")
