"""Curves: collected from run directories, averaged only where every seed is, drawn to a file."""

from __future__ import annotations

import math

import pytest

from vaebench.config import Cell
from vaebench.errors import UserError
from vaebench.report.curves import collect_curves, mean_curve, plot_curves
from vaebench.store import Store

HEADER = "update,seconds,train_bound,valid_bound,kl\n"


def make_cell(objective="nvil"):
    config = {"data": {"name": "digits"}, "model": {"name": "sbn", "dims": [200]}, "objective": {"name": objective}}
    return Cell("figure", "SBN 200", objective, "paper", config)


def write(store, cell, seed, text):
    place = store.run_dir(cell.key, seed)
    place.mkdir(parents=True)
    (place / "curve.csv").write_text(text)


@pytest.fixture
def curves(tmp_path):
    store, a, b = Store(tmp_path), make_cell(), make_cell("wake_sleep")
    write(store, a, 0, HEADER + "1000,1.5,-200,-210,5\n2000,3.0,-150,-160.5,6\n3000,4.5,-120,-130,7\n")
    write(store, a, 1, HEADER + "1000,1.5,-220,-230,5\n2000,3.0,,nan,6\n3000,4.")
    write(store, b, 0, HEADER + "1000,1.0,-300,-310,1\n")
    return collect_curves(store, [a, b], [0, 1, 2])


def test_collect(curves):
    columns = ["table", "row", "column", "seed", "update", "seconds", "train_bound", "valid_bound"]
    assert list(curves.columns) == columns
    assert len(curves) == 3 + 2 + 1  # the line that was cut off is left out
    assert curves.iloc[1].tolist() == ["figure", "SBN 200", "nvil", 0, 2000, 3.0, -150.0, -160.5]
    assert math.isnan(curves["train_bound"][4])


def test_collect_nothing_and_damage(tmp_path):
    store, cell = Store(tmp_path), make_cell()
    assert len(collect_curves(store, [cell], [0])) == 0
    write(store, cell, 0, "update,loss\n1,2\n")
    with pytest.raises(UserError, match="missing columns seconds, train_bound, valid_bound"):
        collect_curves(store, [cell], [0])
    write(store, cell, 1, HEADER + "1000,1,-2,-3,4\nx,1,-2,-3,4\n")
    with pytest.raises(UserError, match="line 3 is damaged"):
        collect_curves(store, [cell], [1])


def test_mean_goes_as_far_as_every_seed(curves):
    mean = mean_curve(curves[curves["column"] == "nvil"])
    assert list(mean.index) == [1000, 2000]
    assert mean[1000] == -220.0
    assert math.isnan(mean[2000])  # one seed is not finite there


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot(curves, tmp_path, suffix, magic):
    path = tmp_path / "new" / f"figure.{suffix}"
    plot_curves(curves, path, "Figure 1 & more", ylim=(-240, -100))
    assert path.read_bytes().startswith(magic)
    if suffix == "svg":
        first = path.read_bytes()
        plot_curves(curves, path, "Figure 1 & more", ylim=(-240, -100))
        assert path.read_bytes() == first
        for words in (b"validation bound (nats)", b"parameter updates", b"nvil (mean of 2)", b"wake_sleep"):
            assert words in first


def test_plot_refuses(curves, tmp_path):
    with pytest.raises(UserError, match="allowed: pdf, png, svg"):
        plot_curves(curves, tmp_path / "x.gif", "t")
    with pytest.raises(UserError, match="no curves"):
        plot_curves(curves[:0], tmp_path / "x.png", "t")
    assert not list(tmp_path.glob("x.*"))
