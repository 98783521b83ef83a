"""scripts/collect_reference.py: runs at hand replace their lines in the reference files; lines of
other runs stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kit.repository import REFERENCE, load_script

from vaebench.config import catalogue, compose
from vaebench.config.cells import Cell
from vaebench.protocol.signature import evaluated, samples_of, signature
from vaebench.results import long_frame
from vaebench.results.stats import Measure
from vaebench.results.store import Store


@pytest.fixture
def script(tmp_path, monkeypatch):
    module = load_script("collect_reference")
    monkeypatch.setattr(module, "REFERENCE", tmp_path / "reference")
    return module


def cells_of(table="nvil_mnist", preset="short"):
    return compose.cells(catalogue.load_table(table), catalogue.load_preset(preset))


def finished(root: Path, cell: Cell, seed: int, value: float) -> None:
    """A finished run whose bound is ``value``, with a curve of two points."""
    runs = Store(root)
    measures = [measured(cell, name, value) for name in evaluated(cell.config, cell.measure)]
    runs.write_result(
        cell.key,
        seed,
        {"status": "done", "reason": "", "measures": [m.to_dict() for m in measures]},
    )
    folder = runs.run_dir(cell.key, seed)
    lines = [f"{u},1.5,{value + 0.1},{value},nats" for u in (10, 20)]
    (folder / "curve.csv").write_text(
        "\n".join(["update,seconds,train_bound,valid_bound,unit", *lines]) + "\n"
    )


def measured(cell: Cell, name: str, value: float, samples: int | None = None) -> Measure:
    """A measure of the cell by its own protocol, or by so many samples."""
    samples = samples or samples_of(cell.config, name)
    protocol = signature(cell.config, name, samples, "0" * 16)
    return Measure(name, value, "nats", points=10, samples=samples, signature=protocol)


def collected(script, tmp_path, results):
    """Collect the runs of nvil_mnist at preset=short from the folder ``results``.

    Returns the results and the curves that are then in the reference.
    """
    script.collect(Store(tmp_path / results), "nvil_mnist", "short")
    frame = long_frame.read_csv(tmp_path / "reference" / "nvil_mnist-short.csv")
    curves = pd.read_csv(tmp_path / "reference" / "nvil_mnist-short-curves.csv")
    return frame, curves


def values(frame):
    frame = frame[frame["metric"] == "bound"]
    return [tuple(v) for v in frame[["row", "column", "seed", "value"]].itertuples(index=False)]


def test_runs_of_two_places_come_together(script, tmp_path):
    first, second = cells_of()[:2]
    finished(tmp_path / "a", first, 0, 100.1)
    finished(tmp_path / "a", second, 0, 1 / 3)
    collected(script, tmp_path, "a")
    finished(tmp_path / "b", first, 1, 101.0)
    finished(tmp_path / "b", second, 0, 90.0)  # the same run made again
    frame, curves = collected(script, tmp_path, "b")
    expected = [(first, 0, 100.1), (first, 1, 101.0), (second, 0, 90.0)]

    assert values(frame) == [(c.row, c.column, s, v) for c, s, v in expected]
    assert curves[["row", "column", "seed", "update"]].values.tolist() == [
        [c.row, c.column, s, u] for c, s, _ in expected for u in (10, 20)
    ]
    assert curves["valid_bound"].tolist() == pytest.approx(
        [v for _, _, v in expected for _ in range(2)], abs=1e-12
    )


def test_a_run_that_is_evaluated_otherwise_leaves_what_the_file_has_of_it(script, tmp_path):
    """Another table may share the run and have it evaluated with fewer samples. Such numbers do not
    replace those of the file."""
    first = cells_of()[0]
    finished(tmp_path / "a", first, 0, 100.0)
    collected(script, tmp_path, "a")
    finished(tmp_path / "b", first, 0, 90.0)
    runs = Store(tmp_path / "b")
    fewer = measured(first, "iw_nll", 95.0, samples=7)
    # The bound is as before, the IW-NLL by seven samples.
    result = runs.read_result(first.key, 0)
    other_measures = [m for m in result["measures"] if m["name"] != "iw_nll"]
    runs.write_result(first.key, 0, {**result, "measures": [*other_measures, fewer.to_dict()]})
    frame, curves = collected(script, tmp_path, "b")

    assert values(frame) == [(first.row, first.column, 0, 100.0)]
    assert set(curves["valid_bound"]) == {100.0}


def test_what_another_table_asks_for_stays_with_that_table(script, tmp_path):
    """A run that another table has evaluated once more keeps both evaluations."""
    first = cells_of()[0]
    finished(tmp_path / "a", first, 0, 100.0)
    runs = Store(tmp_path / "a")
    fewer = measured(first, "iw_nll", 95.0, samples=7)
    result = runs.read_result(first.key, 0)
    runs.write_result(first.key, 0, {**result, "measures": [*result["measures"], fewer.to_dict()]})
    frame, _ = collected(script, tmp_path, "a")

    assert frame.loc[frame["metric"] == "iw_nll", "value"].tolist() == [100.0]
    assert values(frame) == [(first.row, first.column, 0, 100.0)]


def test_what_the_table_no_longer_trains_so_goes(script, tmp_path, monkeypatch):
    first, second = cells_of()[:2]
    finished(tmp_path / "a", first, 0, 100.0)
    collected(script, tmp_path, "a")
    path = tmp_path / "reference" / "nvil_mnist-short.csv"
    # As if the table had trained this cell with other settings when the file was written.
    path.write_text(path.read_text().replace(first.key, "another-0123456789"))
    finished(tmp_path / "b", second, 0, 90.0)
    frame, curves = collected(script, tmp_path, "b")

    assert values(frame) == [(second.row, second.column, 0, 90.0)]
    assert set(curves["row"]) == {second.row}


def test_rows_that_another_table_trains_are_collected_there_alone(script, tmp_path):
    own_cell = cells_of()[0]
    linked_cell = next(cell for cell in cells_of() if cell.row == "NADE 500")
    for cell in (own_cell, linked_cell):
        finished(tmp_path / "a", cell, 0, 100.0)
    frame, curves = collected(script, tmp_path, "a")

    assert set(frame["row"]) == set(curves["row"]) == {own_cell.row}


def test_a_table_all_of_whose_rows_others_train_has_no_files(script, tmp_path):
    finished(tmp_path / "a", cells_of("combined_mnist")[0], 0, 100.0)
    assert script.collect(Store(tmp_path / "a"), "combined_mnist", "short") == 0
    assert not (tmp_path / "reference").exists()


def test_without_runs_the_files_are_left_alone(script, tmp_path):
    first = cells_of()[0]
    finished(tmp_path / "a", first, 0, 100.0)
    collected(script, tmp_path, "a")
    before = (tmp_path / "reference" / "nvil_mnist-short.csv").read_bytes()
    collected(script, tmp_path, "empty")

    assert (tmp_path / "reference" / "nvil_mnist-short.csv").read_bytes() == before


def training(root: Path, cell: Cell, seed: int, points: str) -> None:
    """A run that has not ended: curve and ``points`` of posterior means, and no result."""
    folder = Store(root).run_dir(cell.key, seed)
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text(
        "update,seconds,train_bound,valid_bound,unit\n10,1.5,99.1,99.0,nats\n"
    )
    (folder / "means.csv").write_text(points)


def test_seeds_that_still_train_are_not_taken(script, tmp_path):
    """A seed that still trains is left out with its curve, although another seed of the same cell
    has ended."""
    cell = cells_of()[0]
    finished(tmp_path / "a", cell, 0, 100.0)
    training(tmp_path / "a", cell, 1, "")
    frame, curves = collected(script, tmp_path, "a")

    assert set(frame["seed"]) == {0}
    assert set(curves["seed"]) == {0}


def test_points_of_a_figure_are_of_runs_that_ended(script, tmp_path, monkeypatch):
    """The figure shows the first seed, which may have ended in one row and still train in the
    other."""
    drawn = []
    monkeypatch.setattr(script, "save_plot", lambda name, frame, path, title: drawn.append(frame))
    points = "split,update,kind,case,model,encoder\nvalid,0,,3,0.500000,-0.100000\n"
    first, second = (
        next(c for c in cells_of("lagging_synthetic") if c.row.startswith(r))
        for r in ("basic", "aggr")
    )
    finished(tmp_path / "a", first, 0, 37.0)
    (Store(tmp_path / "a").run_dir(first.key, 0) / "means.csv").write_text(points)
    finished(tmp_path / "a", second, 1, 37.0)
    training(tmp_path / "a", second, 0, points)
    script.collect(Store(tmp_path / "a"), "lagging_synthetic", "short")

    assert set(drawn[-1]["row"]) == {first.row}


def test_a_figure_of_curves_is_drawn_of_both(script, tmp_path, monkeypatch):
    """The figure has one column from the runs at hand and one from the file, and of one column a
    seed from either."""
    drawn = []
    monkeypatch.setattr(script, "save_plot", lambda name, frame, path, title: drawn.append(frame))
    first, second = cells_of("nvil_variance")[:2]
    for results, cell, seed in (("a", first, 0), ("b", second, 0), ("b", first, 1)):
        finished(tmp_path / results, cell, seed, 100.0 + seed)
    for results in ("a", "b"):
        script.collect(Store(tmp_path / results), "nvil_variance", "short")

    assert len(drawn) == 2

    curves = drawn[1]
    assert all(
        pd.api.types.is_numeric_dtype(curves[c])
        for c in ("seed", "update", "train_bound", "valid_bound")
    )
    assert len(curves) == 6

    from matplotlib.figure import Figure

    from vaebench.report.plots.bound import draw_curves, mean_curve

    draw_curves(Figure(), curves)
    of_first = curves[(curves["row"] == first.row) & (curves["column"] == first.column)]

    assert mean_curve(of_first).to_dict() == pytest.approx({10: 100.5, 20: 100.5})


def test_other_figures_keep_what_they_have_of_the_first_seed(script, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(script, "save_plot", lambda name, frame, path, title: drawn.append(frame))
    header = "split,update,kind,case,model,encoder"
    first, second = (
        next(c for c in cells_of("lagging_synthetic") if c.row.startswith(r))
        for r in ("basic", "aggr")
    )

    for results, cell, seed, x in (
        ("a", first, 0, 0.5),
        ("b", second, 0, 0.25),
        ("b", first, 1, 0.125),
    ):
        finished(tmp_path / results, cell, seed, 37.0)
        folder = Store(tmp_path / results).run_dir(cell.key, seed)
        (folder / "means.csv").write_text(f"{header}\nvalid,0,,3,{x:.6f},-0.100000\n")

    for results in ("a", "b"):
        script.collect(Store(tmp_path / results), "lagging_synthetic", "short")
    path = tmp_path / "reference" / "lagging_synthetic-short-means.csv"
    means = pd.read_csv(path)

    assert means[["row", "seed", "model"]].values.tolist() == [
        [first.row, 0, 0.5],
        [second.row, 0, 0.25],
    ]
    assert drawn[-1]["model"].tolist() == [0.5, 0.25]


# ------------------------------------------------------------------------------------- flagged runs


def reference(tmp_path, name="nvil_mnist-short"):
    """The bounds in a file, a line for each run; None if there is no file."""
    path = tmp_path / "reference" / f"{name}.csv"
    if not path.exists():
        return None
    frame = long_frame.read_csv(path)
    return frame[frame["metric"] == "bound"].reset_index(drop=True)


def marked(root: Path, cell: Cell, seed: int, flag: str) -> None:
    """A finished run whose training was flagged."""
    finished(root, cell, seed, 100.0)
    runs = Store(root)
    runs.write_result(cell.key, seed, {**runs.read_result(cell.key, seed), "flags": [flag]})


def test_flagged_runs_are_refused_unless_asked_for(script, tmp_path, capsys):
    first, second = cells_of()[:2]
    marked(tmp_path / "a", first, 0, "baseline: astray")
    finished(tmp_path / "a", first, 1, 101.0)
    finished(tmp_path / "a", second, 0, 90.0)

    assert script.collect(Store(tmp_path / "a"), "nvil_mnist", "short") == 1
    assert (
        f"{first.row} / {first.column} seed 0 not taken: training: baseline: astray"
        in capsys.readouterr().err
    )

    unflagged = [(first.row, first.column, 1, 101.0), (second.row, second.column, 0, 90.0)]
    assert values(reference(tmp_path)) == unflagged

    curves = pd.read_csv(tmp_path / "reference" / "nvil_mnist-short-curves.csv")
    assert {*zip(curves["row"], curves["column"], curves["seed"], strict=True)} == {
        w[:3] for w in unflagged
    }

    assert script.collect(Store(tmp_path / "a"), "nvil_mnist", "short", flagged=True) == 0

    frame = reference(tmp_path)
    assert values(frame) == [(first.row, first.column, 0, 100.0), *unflagged]
    assert frame["flags"].tolist() == ['["baseline: astray"]', "", ""]


def test_a_run_that_is_flagged_leaves_what_the_file_has_of_it(script, tmp_path):
    first = cells_of()[0]
    finished(tmp_path / "a", first, 0, 100.0)
    script.collect(Store(tmp_path / "a"), "nvil_mnist", "short")
    marked(tmp_path / "b", first, 0, "baseline: astray")
    finished(tmp_path / "b", first, 1, 101.0)

    assert script.collect(Store(tmp_path / "b"), "nvil_mnist", "short") == 1
    assert values(reference(tmp_path)) == [
        (first.row, first.column, 0, 100.0),
        (first.row, first.column, 1, 101.0),
    ]
    assert reference(tmp_path)["flags"].tolist() == ["", ""]


@pytest.mark.parametrize(("table", "refused"), [("nvil_mnist", 1), ("lagging_synthetic", 0)])
def test_a_layer_without_kl_is_refused_where_it_is_not_what_the_table_measures(
    script, tmp_path, table, refused
):
    cell = cells_of(table)[0]
    finished(tmp_path / "a", cell, 0, 100.0)
    runs = Store(tmp_path / "a")
    kl = replace(measured(cell, "kl", 0.01), extra={"layers": [0.01]}).to_dict()
    result = runs.read_result(cell.key, 0)
    others = [m for m in result["measures"] if m["name"] != "kl"]
    runs.write_result(cell.key, 0, {**result, "measures": [*others, kl]})

    assert script.collect(runs, table, "short") == refused


def test_the_script_says_so_by_its_exit_code(script, tmp_path, monkeypatch, capsys):
    marked(tmp_path / "a", cells_of()[0], 0, "baseline: astray")
    arguments = ["collect_reference.py", str(tmp_path / "a"), "--table", "nvil_mnist"]
    monkeypatch.setattr("sys.argv", arguments)

    assert script.main() == 1
    assert "1 flagged runs were not taken" in capsys.readouterr().err
    assert reference(tmp_path) is None

    monkeypatch.setattr("sys.argv", [*arguments, "--flagged"])
    assert script.main() == 0
    assert len(reference(tmp_path)) == 1


# ------------------------------------------------------------------------------------ what is there


CURVES = sorted(REFERENCE.glob("*-curves.csv"))


@pytest.mark.parametrize("path", CURVES, ids=lambda p: p.name)
def test_a_curve_in_the_reference_is_of_a_run_beside_it(path):
    """A recorded curve is complete: its last point is no earlier than the update that was evaluated
    as the best."""
    runs = pd.read_csv(path.with_name(path.name.replace("-curves", "")))
    ended = {(v.row, v.column, v.seed): v.best_update for v in runs.itertuples()}
    last = pd.read_csv(path).groupby(["row", "column", "seed"])["update"].max()

    assert set(last.index) <= set(ended)
    # ``not >``: a run without a best update has NaN.
    assert all(not ended[run] > update for run, update in last.items())
