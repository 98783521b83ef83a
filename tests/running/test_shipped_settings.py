"""Settings of shipped runs, composed again from the tables and presets that they name."""

from __future__ import annotations

import pytest

from vaebench.config.catalogue import load_preset, load_table
from vaebench.config.compose import cells
from vaebench.results.costs import estimate, reference_records
from vaebench.running.shipped_settings import with_settings


def record(cell, **changes):
    """A run of ``cell`` as a results CSV tells of it."""
    finished_run = {
        "key": cell.key,
        "seed": 0,
        "status": "done",
        "seconds": 600.0,
        "eval_seconds": 60.0,
        "updates": 2995,
    }

    return {**finished_run, "device": "cpu", "table": cell.table, "preset": cell.preset, **changes}


@pytest.fixture(scope="module")
def chosen():
    """The first cell of darn_mnist at 5 and at 100 passes."""
    table = load_table("darn_mnist")

    return [
        cells(table, load_preset(name), only=["row=fDARN 400"])[0] for name in ("short", "paper")
    ]


def test_passes_are_scaled_by_passes(chosen):
    short, paper = chosen
    records = with_settings([record(short)], [paper])
    assert [(r["budget"], r["unit"]) for r in records] == [(5, "epochs")]

    # 600 s of training at 5 passes, and 60 s of evaluation, which is the same at 100.
    assert estimate(records, paper) == pytest.approx(600 * 100 / 5 + 60)


def test_sizes_are_known_again(chosen):
    """Another batch is another size, though a key does not show it."""
    short, _ = chosen
    other_batch = cells(
        load_table("darn_mnist"), load_preset("paper"), ["train.batch=50"], ["row=fDARN 400"]
    )[0]
    assert estimate(with_settings([record(short)], [other_batch]), other_batch) is None


@pytest.mark.parametrize(
    "changes", [{"table": "gone"}, {"preset": "gone"}, {"key": "mnist_static-fdarn400-mdl-0"}]
)
def test_what_no_preset_makes_stays_as_it_is(chosen, changes):
    short, paper = chosen
    lost = record(short, **changes)
    assert with_settings([lost], [paper]) == [lost]


def test_other_models_are_not_looked_at(chosen):
    short, _ = chosen
    other_model = cells(load_table("darn_mnist"), load_preset("paper"), only=["row=DARN 400"])
    assert with_settings([record(short)], other_model) == [record(short)]


@pytest.mark.parametrize(("name", "row"), [("darn_mnist", "DARN 400"), ("nvil_mnist", "SBN 200")])
def test_shipped_runs_tell_what_whole_budgets_cost(name, row):
    whole = cells(load_table(name), load_preset("paper"), only=[f"row={row}"])
    records = with_settings(reference_records(), whole)
    assert all(estimate(records, cell) for cell in whole)
