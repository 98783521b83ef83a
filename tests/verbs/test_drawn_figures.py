"""A figure of formulas in the place of a table: drawn, listed, shown and
reported, never trained."""

from __future__ import annotations

import pytest
from kit.commands import call


def test_a_figure_is_drawn(conf, tmp_path, capsys):
    results = f"run.results={tmp_path}/runs"
    code, out, err = call(capsys, "run", "table=drawing", "preset=short", results)

    figures = tmp_path / "figures"

    assert (code, err) == (
        0,
        "".join(f"vaebench: wrote {figures}/drawing.{s}\n" for s in ("csv", "png")),
    )
    assert out.startswith("A figure of formulas (Figure 5, someone2018)\n\nsmoothing ")
    assert "logistic           scale 0.1" in out

    assert call(capsys, "report", "table=drawing", results) == (0, out, "")
    assert (
        call(capsys, "report", "table=drawing", "--format", "csv")[1]
        == (figures / "drawing.csv").read_text()
    )
    assert [p.name for p in sorted(figures.iterdir())] == ["drawing.csv", "drawing.png"]


def test_a_dry_run_draws_nothing(conf, tmp_path, capsys):
    code, out, err = call(
        capsys, "run", "table=drawing", "--dry-run", f"run.results={tmp_path}/runs"
    )

    assert (code, out.count("\n"), err) == (0, 1, "")
    assert "nothing to train" in out
    assert f"{tmp_path}/figures/drawing.png" in out
    assert not (tmp_path / "figures").exists()


def test_a_folder_that_cannot_be_written_is_one_line(conf, tmp_path, capsys):
    (tmp_path / "figures").write_text("a file in the way")

    code, out, err = call(capsys, "run", "table=drawing", f"run.results={tmp_path}/runs")

    assert (code, out) == (2, "")
    assert err.startswith(f"vaebench: cannot write {tmp_path}/figures/drawing.csv: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("names", ["small,drawing", "drawing,small"])
def test_a_figure_beside_a_table(runs, conf, capsys, names):
    """Rows, seeds and settings are the other table's; the pages stand in the order asked for."""
    arguments = [f"table={names}", "eval.points=50", "--seeds", "0", f"run.results={runs}"]
    code, out, err = call(capsys, "run", "--dry-run", "--only", "column=NVIL", *arguments)

    assert (code, err) == (0, "")
    assert all(
        text in out for text in ("drawing: drawn from formulas", "small preset=paper", "to do: ")
    )

    for format in ("text", "md", "latex"):
        code, out, err = call(
            capsys, "report", f"table={names}", "--format", format, f"run.results={runs}"
        )

        titles = {"small": out.index("A small table"), "drawing": out.index("A figure of formulas")}
        assert (code, err, ",".join(sorted(titles, key=titles.get))) == (0, "", names)
        assert "113.30" in out


def test_a_figure_is_drawn_before_a_table_is_trained(conf, tmp_path, capsys):
    few = [
        "data=digits",
        "model.dims=[5]",
        "train.updates=2",
        "train.valid_every=2",
        "eval.points=10",
    ]
    run_settings = [f"run.results={tmp_path}/runs", "run.jobs=1", "run.engine=plain"]
    arguments = [
        "run",
        "table=small,drawing",
        "--only",
        "fDARN 200",
        "--seeds",
        "0",
        *few,
        *run_settings,
    ]

    # If the figure cannot be written, nothing is trained.
    (tmp_path / "figures").write_text("a file in the way")
    assert call(capsys, *arguments)[0] == 2
    assert not (tmp_path / "runs").exists()

    (tmp_path / "figures").unlink()
    code, out, err = call(capsys, *arguments)

    assert (code, "drawing.png" in err) == (0, True)
    assert out.index("A small table") < out.index("A figure of formulas")
    assert len(list((tmp_path / "runs").glob("*/seed-0/result.json"))) == 1


def test_report_writes_what_is_drawn(conf, tmp_path, capsys):
    points = tmp_path / "p.csv"
    plot = tmp_path / "p.svg"

    code, _, err = call(
        capsys, "report", "table=drawing", "--curves", str(points), "--plot", str(plot)
    )

    assert (code, err) == (0, f"vaebench: wrote {points}\nvaebench: wrote {plot}\n")
    assert points.read_text() == call(capsys, "report", "table=drawing", "--format", "csv")[1]
    assert plot.read_text().startswith("<?xml")


def test_a_drawn_figure_is_listed_and_shown(conf, capsys):
    line = next(line for line in call(capsys, "ls")[1].splitlines() if line.startswith("drawing"))
    assert line.split() == [
        "drawing",
        "Figure",
        "5",
        "drawn",
        "someone2018",
        "A",
        "figure",
        "of",
        "formulas",
    ]

    code, out, _ = call(capsys, "show", "table=drawing")

    assert code == 0
    assert all(
        text in out
        for text in ("Figure 5 of someone2018 (figure)", "nothing is trained", "here   chosen")
    )
    assert not any(text in out for text in ("margin", "columns", "presets", "recipe"))
