"""Plots of trained runs: collected from their directories, averaged as far as every seed goes,
drawn to a file."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from kit.repository import REFERENCE
from matplotlib.figure import Figure

from vaebench.config import tables
from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.report.plots import PLOTS, plot, save_plot
from vaebench.report.plots.bound import mean_curve
from vaebench.results.long_frame import read_csv
from vaebench.results.store import Store

HEADER = "update,seconds,train_bound,valid_bound,kl,unit\n"


def make_cell(objective="nvil"):
    config = {
        "data": {"name": "digits"},
        "model": {"name": "sbn", "dims": [200]},
        "objective": {"name": objective},
    }
    return Cell("figure", "SBN 200", objective, "paper", config)


@pytest.fixture
def collected(tmp_path):
    """A function that writes curves, by (objective, seed), and gives what a
    plot collects of them."""

    def make(curves, name="bound"):
        cells = {objective: make_cell(objective) for objective, _ in curves}
        for (objective, seed), text in curves.items():
            place = Store(tmp_path).run_dir(cells[objective].key, seed)
            place.mkdir(parents=True)
            (place / "curve.csv").write_text(text)

        return plot(name).collect(Store(tmp_path), list(cells.values()), [0, 1, 2])

    return make


@pytest.fixture
def curves(collected):
    whole = "1000,1.5,200,210,5,nats\n2000,3.0,150,160.5,6,nats\n3000,4.5,120,130,7,nats\n"
    # The second seed has a validation without numbers, and was stopped while it wrote a line.
    cut_off = "1000,1.5,220,230,5,nats\n2000,3.0,,nan,6,nats\n3000,4."
    one_point = "1000,1.0,300,310,1,nats\n"
    texts = {("nvil", 0): whole, ("nvil", 1): cut_off, ("wake_sleep", 0): one_point}
    return collected({run: HEADER + text for run, text in texts.items()})


def test_collect(curves):
    columns = ["table", "row", "column", "seed", "update", "seconds", "train_bound", "valid_bound"]
    assert list(curves.columns) == columns
    assert len(curves) == 3 + 2 + 1  # the line that was cut off is left out
    assert curves.iloc[1].tolist() == ["figure", "SBN 200", "nvil", 0, 2000, 3.0, 150.0, 160.5]
    assert math.isnan(curves["train_bound"][4])


def test_collect_nothing_and_damage(collected):
    assert len(collected({("nvil", 0): ""})) == 0
    with pytest.raises(UserError, match="missing columns seconds, train_bound, valid_bound"):
        collected({("vae", 0): "update,loss\n1,2\n"})
    with pytest.raises(UserError, match="line 3 is damaged"):
        collected({("wake_sleep", 1): HEADER + "1000,1,2,3,4,nats\nx,1,2,3,4,nats\n"})


def test_curves_of_older_versions_are_turned(collected):
    """They have no unit, and bounds of the other sign; other columns stay as they are."""
    text = "update,seconds,train_bound,valid_bound,valid_kl\n10,1.5,-7,-9,0.5\n20,2.5,-6,,0.4\n"
    turned = collected({("vae", 0): text})

    assert turned[["train_bound", "valid_bound", "valid_kl"]].iloc[0].tolist() == [7.0, 9.0, 0.5]
    assert turned["train_bound"][1] == 6.0
    assert math.isnan(turned["valid_bound"][1])


def test_recorded_curves_agree_with_recorded_results():
    """The lowest validation bound of a curve is the bound that selected the run's
    parameters, sign and all."""
    compared = 0
    for path in sorted(REFERENCE.glob("*-curves.csv")):
        results = read_csv(path.with_name(path.name.replace("-curves", "")))
        results = results[(results["metric"] == "valid_bound") & (results["status"] == "done")]
        # Only if the parameters were selected by this bound.
        results = results[results["signature"].str.contains("select:valid_bound")]
        selected_bounds = results.groupby(["row", "column", "seed"])["value"].first()
        lowest = pd.read_csv(path, keep_default_na=False, na_values={"valid_bound": [""]})
        lowest = lowest.groupby(["row", "column", "seed"])["valid_bound"].min()
        in_both = selected_bounds.index.intersection(lowest.index)

        assert lowest[in_both].tolist() == pytest.approx(
            selected_bounds[in_both].tolist(), abs=1e-9
        ), path.name

        compared += len(in_both)

    assert compared > 50


def test_mean_goes_as_far_as_every_seed(curves):
    mean = mean_curve(curves[curves["column"] == "nvil"])
    assert list(mean.index) == [1000, 2000]
    assert mean[1000] == 220.0
    assert math.isnan(mean[2000])  # one seed is not finite there


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_plot(curves, tmp_path, suffix, magic):
    path = tmp_path / "new" / f"figure.{suffix}"
    save_plot("bound", curves, path, "Figure 1 & more")

    assert path.read_bytes().startswith(magic)

    if suffix == "svg":
        image = path.read_bytes()
        # Equal points give equal files.
        save_plot("bound", curves, path, "Figure 1 & more")

        assert path.read_bytes() == image

        for words in (
            b"validation bound (nats)",
            b"parameter updates",
            b"nvil (mean of 2)",
            b"wake_sleep",
        ):
            assert words in image


def test_plot_refuses(curves, tmp_path):
    with pytest.raises(UserError, match="allowed: pdf, png, svg"):
        save_plot("bound", curves, tmp_path / "x.gif", "t")
    with pytest.raises(
        UserError, match="nothing to draw: none of these runs has reached a validation"
    ):
        save_plot("bound", curves[:0], tmp_path / "x.png", "t")
    with pytest.raises(UserError, match=r"--figure bouns: did you mean .bound"):
        plot("bouns")
    assert not list(tmp_path.glob("x.*"))


def test_the_names_are_those_that_tables_may_use():
    assert tuple(PLOTS) == tables.PLOTS


def test_information_keeps_the_improvements_and_clips(collected, tmp_path):
    header = "update,valid_bound,valid_kl,valid_mi_batch,unit\n"
    lines = ["10,9,0.5,-0.1", "20,9.5,1,0.4", "30,8,2,0.5", "40,8,0.2,0.3", "50,8.5,0.2,0.3"]
    lines += ["60,8.2,0.2,0.3"]  # better than the one before, not than the best
    frame = collected(
        {("vae", 0): header + "".join(f"{line},nats\n" for line in lines)}, "information"
    )

    # Only updates 10 and 30 improve on the best bound so far; an MI below 0 is cut off at 0.
    assert frame[["update", "kl", "mi"]].values.tolist() == [[10, 0.5, 0.0], [30, 2.0, 0.5]]
    assert frame["rest"].tolist() == [0.5, 1.5]

    save_plot("information", frame, tmp_path / "x.svg", "t")
    assert b"KL - MI" in (tmp_path / "x.svg").read_bytes()


MEANS = """split,update,kind,case,model,encoder
valid,0,,3,0.5,0.1
valid,0,,9,-0.5,0.2
valid,0,inner,3,0.6,0.3
valid,0,inner,9,-0.4,0.3
valid,7,selected,3,1.5,1.4
valid,7,selected,9,-1.5,-1.4
"""


@pytest.mark.parametrize("name", ["means", "path"])
def test_means(tmp_path, name):
    store = Store(tmp_path)
    cell = make_cell("vae")
    folder = store.run_dir(cell.key, 4)
    folder.mkdir(parents=True)

    assert len(plot(name).collect(store, [cell], [4])) == 0

    (folder / "means.csv").write_text(MEANS)
    frame = plot(name).collect(store, [cell], [4])

    # Table, row, column and seed, then the third line of the file.
    assert frame.iloc[2].tolist() == [
        "figure",
        "SBN 200",
        "vae",
        4,
        "valid",
        0,
        "inner",
        3,
        0.6,
        0.3,
    ]

    save_plot(name, frame, tmp_path / "x.svg", "t")
    drawn = (tmp_path / "x.svg").read_text()

    assert "model's mean" in drawn
    assert ("selected (7)" in drawn) == (name == "means")

    (folder / "means.csv").write_text("update\nx\n")
    with pytest.raises(UserError, match=r"means\.csv: damaged"):
        plot(name).collect(store, [cell], [4])


def test_units_are_those_of_finished_runs_with_both_measures(tmp_path, frame, entry):
    """Columns of a row that share a run are one point; measures of another evaluation and failed
    runs are none."""

    def both(row, seed, iw, units, column="NVIL", **more):
        run = {"first": seed, "key": f"{row}-{more.pop('kind', '')}", "column": column, **more}
        return entry(row, [iw], metric="iw_nll", **run) + entry(
            row, [units], metric="active_units", **run
        )

    lines = (
        both("SBN 200", 0, 300.0, 4.0)
        + both("SBN 200", 0, 300.0, 4.0, column="WS")
        + both("SBN 200", 1, 301.0, 5.0)
    )
    # A failed run, and one of another evaluation.
    lines += both("SBN 500", 0, 310.0, 1.0, status="failed") + both(
        "fDARN 200", 0, 9.0, 1.0, extra={"current": False}
    )
    # The same row and seed by other training settings: a point of its own.
    lines += both("SBN 200", 0, 320.0, 6.0, kind="other")
    points = plot("units").from_frame(frame(lines))

    assert points[["row", "seed", "iw_nll", "active_units"]].values.tolist() == [
        ["SBN 200", 0, 300.0, 4.0], ["SBN 200", 1, 301.0, 5.0], ["SBN 200", 0, 320.0, 6.0]
    ]  # fmt: skip

    save_plot("units", points, tmp_path / "x.svg", "t")
    assert "active units" in (tmp_path / "x.svg").read_text()


def test_information_has_a_panel_for_each_row_and_no_other():
    points = [
        ("t", f"row {i}", "IW", 0, update, 9.0, 2.0, 1.0, 1.0)
        for i in range(5)
        for update in (10, 20)
    ]
    columns = ["table", "row", "column", "seed", "update", "valid_bound", "kl", "mi", "rest"]
    figure = Figure()
    plot("information").draw(figure, pd.DataFrame(points, columns=columns))
    titles = [panel.get_title() for panel in figure.axes if panel.axison]

    assert titles == [f"row {i}" for i in range(5)]


def test_information_leaves_out_runs_without_latents(collected):
    vae = "update,valid_bound,valid_kl,valid_mi_batch\n10,-9,0.5,0.1\n20,-9,0.4,0.2\n"
    frame = collected(
        {("vae", 0): vae, ("likelihood", 0): "update,valid_bound\n10,-9\n"}, "information"
    )

    # The point of update 20 is no improvement.
    assert frame[["column", "update"]].values.tolist() == [["vae", 10]]


def test_curves_against_cases(tmp_path):
    """Updates times the batch of each cell; drawn as a lower bound, training beside validation."""
    cell = make_cell()
    cell = Cell(
        cell.table, cell.row, cell.column, cell.preset, {**cell.config, "train": {"batch": 20}}
    )
    folder = Store(tmp_path).run_dir(cell.key, 0)
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text(
        HEADER + "1000,1.5,200,210,5,nats\n2000,3.0,150,160.5,6,nats\n"
    )
    frame = plot("cases").collect(Store(tmp_path), [cell], [0])

    assert frame["cases"].tolist() == [20_000, 40_000]

    save_plot("cases", frame, tmp_path / "drawn.png", "title")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")

    figure = Figure()
    plot("cases").draw(figure, frame)
    lines = figure.axes[0].get_lines()

    assert [line.get_ydata().tolist() for line in lines] == [[-210, -160.5], [-200, -150]]
    assert all(line.get_xdata().tolist() == [20_000, 40_000] for line in lines)


def test_imputation_has_the_wrong_pixels_and_their_error_by_step(frame, entry):
    """They are of every run with a curve. An error that was not recorded is missing."""
    extra = {"curve": {"0": 50.0, "1": 20.0}, "curve_error": {"0": 1.5, "1": 0.5}}
    runs = [
        entry("SBN 200", [20.0], metric="imputation", extra=extra),
        entry("SBN 500", [30.0], metric="imputation", extra={"curve": {"0": 30.0}}),
        entry("SBN 500", [113.0]),
    ]
    points = plot("imputation").from_frame(frame(*runs))
    lines = points[["row", "seed", "step", "wrong", "error"]].values.tolist()

    assert lines[:2] == [["SBN 200", 0, 0, 50.0, 1.5], ["SBN 200", 0, 1, 20.0, 0.5]]
    assert lines[2][:4] == ["SBN 500", 0, 0, 30.0]
    assert points["error"].isna().tolist() == [False, False, True]
