"""Estimates of cost from finished runs."""

from __future__ import annotations

import sys

import pytest

from vaebench.config.catalogue import load_preset, load_table, presets_of
from vaebench.config.cells import Cell
from vaebench.config.compose import cells
from vaebench.report import recorded
from vaebench.results import costs, shipped
from vaebench.results.costs import estimate, reference_records
from vaebench.results.long_frame import LATER, csv_text, read_csv, write_csv


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
    cell = make_cell()
    other_rate = make_cell(rate=2e-3)
    # Of these the first two count: another learning rate is another setting, and a failed run
    # says nothing.
    records = [
        run(cell, 10.0),
        run(cell, 14.0),
        run(other_rate, 99.0),
        run(cell, 1000.0, status="failed"),
    ]

    assert estimate(records, cell) == 12.0


def test_else_alike_runs_are_scaled_by_updates():
    records = [run(make_cell(), 10.0), run(make_cell(updates=2000), 6.0, updates=2000)]
    assert estimate(records, make_cell(updates=200000)) == pytest.approx(
        200000 * (10 / 4000 + 6 / 2000) / 2
    )


def test_alike_runs_are_as_large():
    """Sizes are the model's settings, whole numbers of the objective and the batch; a key shows the
    sizes of dims."""

    def sized(rate=1e-3, updates=4000, batch=100, **changes):
        cell = make_cell(updates, rate=rate)
        model = {
            "name": "rbm_vae",
            "latents": 200,
            "context": "shared",
            "momentum": 0.99,
            "init": "fan_in",
        }
        cell.config["model"] = {k: changes.get(k, v) for k, v in model.items()}
        rule = {"name": "dvae_sharp", "samples": 1, "warmup": 0.3, "stop": True}
        cell.config["objective"] = {k: changes.get(k, v) for k, v in rule.items()}
        cell.config["train"]["batch"] = batch
        return cell

    cell = sized()
    # None of these settings is a size, so twice the updates take twice as long.
    for same_size in (
        {"rate": 2.0},
        {"momentum": 0.5},
        {"init": "normal"},
        {"warmup": 0.0},
        {"stop": False},
    ):
        resized = sized(**same_size)
        assert (
            estimate([{**run(resized, 10.0), "config": resized.config}], sized(updates=8000))
            == 20.0
        ), same_size
        assert estimate([run(resized, 10.0)], sized(updates=8000)) is None, (
            "nothing tells its sizes"
        )

    # Each of these changes what an update costs.
    for other_size in ({"latents": 400}, {"context": "none"}, {"samples": 25}, {"batch": 1000}):
        resized = sized(**other_size)
        assert (
            estimate([{**run(resized, 10.0), "config": resized.config}], sized(updates=8000))
            is None
        ), other_size

    assert estimate([run(cell, 10.0)], cell) == 10.0, "the same settings, by the key"


def test_evaluation_counts_and_is_not_scaled():
    cell = make_cell()
    records = [
        {**run(cell, 10.0), "eval_seconds": 4.0},
        {**run(cell, 12.0), "eval_seconds": None},
        run(cell, 14.0),
    ]

    assert estimate(records, cell) == pytest.approx((14 + 12 + 14) / 3)

    # Ten times the updates of these runs: 10 s and 20 s of training become 100 s and 200 s, and
    # the one evaluation that is known stays at 4 s.
    alike = [
        {**run(make_cell(), 10.0), "eval_seconds": 4.0},
        {**run(make_cell(), 20.0), "eval_seconds": float("nan")},
    ]

    assert estimate(alike, make_cell(updates=40000)) == pytest.approx((100 + 4 + 200) / 2)
    assert (
        estimate([{**run(make_cell(), None), "eval_seconds": 4.0}], make_cell(updates=40000))
        is None
    )


def test_runs_on_another_kind_of_device_tell_nothing():
    cell = make_cell()
    records = [
        {**run(cell, 10.0), "device": "cpu (EPYC, 1 thread)"},
        {**run(cell, 2.0), "device": "cuda (H200)"},
    ]

    assert [estimate(records, cell, kind) for kind in ("", "cpu", "cuda")] == [6.0, 10.0, 2.0]
    assert estimate(records[:1], cell, "cuda") is None


def test_runs_timed_by_the_processor_are_preferred():
    """The seconds of the others are of earlier versions, and of whatever else the machine did."""
    cell = make_cell()
    other_rate = make_cell(rate=2e-3)
    alike = [run(other_rate, 1000.0), {**run(other_rate, 10.0), "clock": "processor"}]
    same = [run(cell, 700.0), run(cell, 900.0)]

    # The best that there is counts: timed by the processor, then of the same settings.
    assert estimate([*alike, *same, {**run(cell, 12.0), "clock": "processor"}], cell) == 12.0
    assert estimate([*alike, *same], cell) == 10.0
    assert estimate([alike[0], *same], cell) == 800.0
    assert estimate([alike[0]], cell) == 1000.0


def test_reference_records(tmp_path, monkeypatch, frame, entry):
    monkeypatch.setattr(costs.shipped, "folder", lambda: None)
    assert reference_records() == []

    folder = tmp_path
    monkeypatch.setattr(costs.shipped, "folder", lambda: folder)
    # A run is in two files, and with two measures in one of them; it is one record.
    shared = entry("SBN 200", [1.0], key="a-b", seconds=10.0)
    write_csv(
        frame(shared, entry("SBN 200", [1.0], key="a-b", metric="kl", seconds=10.0)),
        folder / "one.csv",
    )
    last = entry(
        "SBN 200",
        [1.0],
        first=3,
        key="a-c",
        seconds=None,
        updates=None,
        eval_seconds=2.5,
        clock="processor",
    )
    write_csv(frame(shared, last), folder / "two.csv")
    # Neither curves nor pages are results.
    (folder / "curves.csv").write_text("table,row,update\nt,r,1000\n")
    earlier = read_csv(folder / "one.csv").drop(columns=list(LATER)).to_csv(index=False)
    (folder / "one.csv").write_text(earlier)  # as earlier versions wrote it
    (folder / "README.md").write_text("not a CSV")
    fields = (
        *("key", "seed", "status", "seconds", "eval_seconds", "updates", "device", "clock"),
        *("table", "preset"),
    )

    assert reference_records() == [
        dict(
            zip(
                fields,
                ("a-b", 0, "done", 10.0, None, 200000, "cpu", "", "nvil_mnist", "paper"),
                strict=True,
            )
        ),
        dict(
            zip(
                fields,
                ("a-c", 3, "done", None, 2.5, None, "cpu", "processor", "nvil_mnist", "paper"),
                strict=True,
            )
        ),
    ]


def test_a_damaged_reference_is_left_out_whole(tmp_path, monkeypatch, frame, entry):
    folder = tmp_path
    monkeypatch.setattr(costs.shipped, "folder", lambda: folder)
    text = csv_text(frame(entry("SBN 200", [1.0, 2.0], key="a-b", seconds=10.0)))

    # A number that is none, a missing column, nothing, a byte of zero, half a file, a field too
    # many.
    for damaged in (
        text.replace(",10.0,", ",soon,", 1),
        text.replace("seconds", "minutes"),
        "",
        "\0",
        text[: len(text) // 2],
        text[:-1] + ",more\n",
    ):
        (folder / "one.csv").write_text(damaged)
        assert reference_records() == [], damaged

    (folder / "one.csv").write_bytes(b"\xff" + text.encode())
    assert reference_records() == []


def test_reference_records_are_read_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    reference_records()


@pytest.mark.parametrize("name", ["nvil_mnist", "dvae_sharp_sharp_toy"])
def test_the_costs_of_reference_runs_are_known(name):
    """For every entry with results, the key at some preset of the table is that of its results."""
    records = reference_records()
    table = load_table(name)
    results = recorded.under_own_names(recorded.read(shipped.files([name], None)), table)
    ran = set(zip(results["row"], results["column"], strict=True))
    made = [cell for preset in presets_of(table) for cell in cells(table, load_preset(preset))]
    estimated = {(cell.row, cell.column) for cell in made if estimate(records, cell) is not None}

    assert len(ran) >= 14
    assert ran <= estimated


def test_nothing_recorded():
    cell = make_cell()
    assert estimate([], cell) is None
    assert estimate([run(make_cell(data="mnist_static"), 10.0)], cell) is None
    assert (
        estimate(
            [run(cell, None), run(cell, float("nan")), {"key": cell.key, "status": "partial"}], cell
        )
        is None
    )
    assert estimate([run(make_cell(rate=1.0), 10.0, updates=None)], cell) is None


def test_epochs_are_compared_with_epochs():
    """A run of 10 epochs took 100 s, so 30 epochs take 300 s; updates say nothing of epochs."""

    def of(epochs, unit="epochs"):
        cell = make_cell(updates=epochs)
        cell.config["train"]["unit"] = unit
        return cell

    ten_epochs = of(10)
    record = run(ten_epochs, 100.0, updates=5000)

    assert estimate([{**record, "config": ten_epochs.config}], of(30)) == pytest.approx(300.0)
    assert estimate([record], of(30)) is None

    in_updates = of(10, "updates")
    assert (
        estimate([{**run(in_updates, 100.0, updates=10), "config": in_updates.config}], of(30))
        is None
    )
