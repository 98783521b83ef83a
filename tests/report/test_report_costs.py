"""Estimates of cost from finished runs."""

from __future__ import annotations

import pytest

from vaebench.config import Cell
from vaebench.report import costs
from vaebench.report.costs import FIELDS, estimate, reference_records
from vaebench.store import write_csv


def make_cell(updates=4000, data="digits", rate=1e-3):
    config = {
        "data": {"name": data},
        "model": {"name": "sbn", "dims": [200]},
        "objective": {"name": "nvil"},
        "optim": {"name": "sgd", "rate": rate},
        "train": {"updates": updates},
    }
    return Cell("t", "r", "c", "paper", config)


def run(cell, seconds, updates=4000, status="done", seed=0):
    return {"key": cell.key, "seed": seed, "status": status, "seconds": seconds, "updates": updates}


def test_same_settings_are_averaged():
    cell, other = make_cell(), make_cell(rate=2e-3)
    records = [run(cell, 10.0), run(cell, 14.0), run(other, 99.0), run(cell, 1000.0, status="failed")]
    assert estimate(records, cell) == 12.0


def test_else_alike_runs_are_scaled_by_updates():
    records = [run(make_cell(), 10.0), run(make_cell(updates=2000), 6.0, updates=2000)]
    assert estimate(records, make_cell(updates=200000)) == pytest.approx(200000 * (10 / 4000 + 6 / 2000) / 2)


def test_evaluation_counts_and_is_not_scaled():
    cell = make_cell()
    records = [{**run(cell, 10.0), "eval_seconds": 4.0}, {**run(cell, 12.0), "eval_seconds": None}, run(cell, 14.0)]
    assert estimate(records, cell) == pytest.approx((14 + 12 + 14) / 3)
    alike = [{**run(make_cell(), 10.0), "eval_seconds": 4.0}, {**run(make_cell(), 20.0), "eval_seconds": float("nan")}]
    assert estimate(alike, make_cell(updates=40000)) == pytest.approx((100 + 4 + 200) / 2)
    assert estimate([{**run(make_cell(), None), "eval_seconds": 4.0}], make_cell(updates=40000)) is None


def test_reference_records(tmp_path, monkeypatch, frame, entry):
    monkeypatch.setattr(costs, "conf_dir", lambda: tmp_path / "conf")
    assert reference_records() == []
    folder = tmp_path / "results" / "reference"
    folder.mkdir(parents=True)
    shared = entry("SBN 200", [1.0], key="a-b", seconds=10.0)
    write_csv(frame(shared, entry("SBN 200", [1.0], key="a-b", metric="kl", seconds=10.0)), folder / "one.csv")
    last = entry("SBN 200", [1.0], first=3, key="a-c", seconds=None, updates=None, eval_seconds=2.5)
    write_csv(frame(shared, last), folder / "two.csv")
    (folder / "curves.csv").write_text("table,row,update\nt,r,1000\n")
    (folder / "README.md").write_text("not a CSV")
    assert reference_records() == [
        dict(zip(FIELDS, ("a-b", 0, "done", 10.0, None, 200000), strict=True)),
        dict(zip(FIELDS, ("a-c", 3, "done", None, 2.5, None), strict=True)),
    ]


def test_nothing_recorded():
    cell = make_cell()
    assert estimate([], cell) is None
    assert estimate([run(make_cell(data="mnist_static"), 10.0)], cell) is None
    assert estimate([run(cell, None), run(cell, float("nan")), {"key": cell.key, "status": "partial"}], cell) is None
    assert estimate([run(make_cell(rate=1.0), 10.0, updates=None)], cell) is None


def test_from_a_frame(frame, entry):
    cell = make_cell()
    f = frame(
        entry("SBN 200", [1.0, 2.0], key=cell.key, seconds=10.0),
        entry("SBN 200", [1.0, 2.0], key=cell.key, seconds=10.0, metric="kl"),
        entry("SBN 200", [1.0], first=2, key=cell.key, seconds=40.0),
        entry("SBN 200", [1.0], first=3, key=cell.key, seconds=None, updates=None),
    )
    assert estimate(f, cell) == 20.0  # one number per seed, however many metrics
    assert estimate(f[f["seconds"] < 20], make_cell(updates=400000)) == pytest.approx(20.0)
    assert estimate(f.assign(eval_seconds=5.0), cell) == 25.0
    assert estimate(f.drop(columns="eval_seconds", errors="ignore"), cell) == 20.0
    assert estimate(frame(), cell) is None
