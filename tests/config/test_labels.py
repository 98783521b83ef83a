"""What a cell says of itself: a label that tells what was changed, and whether it keeps the paper's
protocol."""

from __future__ import annotations

import pytest
from kit.tables import SMALL, compose, one

from vaebench.config import catalogue
from vaebench.config.compose import cells


@pytest.mark.parametrize(
    ("preset", "overrides", "label"),
    [
        ("paper", [], ""),
        ("paper", ["optim.rate=3e-4"], ""),
        ("paper", ["run.threads=2", "eval.iw_samples=7", "eval=iw"], ""),
        ("paper", ["optim.rate=1e-4"], "modified"),
        ("paper", ["data=digits"], "modified"),
        ("tuned", [], "tuned"),
        ("tuned", ["run.jobs=1"], "tuned"),
        ("tuned", ["optim.rate=1"], "tuned, modified"),
        ("tuned", ["optim.rate=3e-4", "train.batch=20"], ""),
        ("quick", [], "quick"),
    ],
)
def test_label(table, preset, overrides, label):
    assert one(table, *overrides, preset=preset).label == label


def test_a_preset_that_changes_nothing_here_is_no_label(table):
    by_entry = compose(table, "short", only=["SBN 200"])
    assert (by_entry["SBN 200", "NVIL"].label, by_entry["SBN 200", "WS"].label) == ("short", "")
    assert (
        compose(table, "short", ["optim.rate=1"], ["SBN 200"])["SBN 200", "WS"].label == "modified"
    )


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["optim.rate=1"], True),
        (["eval.iw_samples=5"], True),  # shown beside the bound, which is the measure
        (["eval.iw_samples=null"], True),
        (["eval.bound_samples=5"], False),
        (["eval.points=100"], False),
        (["eval.split=valid"], False),
        (["data=digits"], False),
        (["train.select=last"], False),
    ],
)
def test_paper_protocol(table, overrides, same):
    assert one(table, *overrides).paper_protocol is same


def test_paper_protocol_of_an_importance_weighted_table(small):
    (small / "table" / "small.yaml").write_text(SMALL.replace("measure: bound", "measure: iw_nll"))
    table = catalogue.load_table("small")

    assert one(table, "eval.bound_samples=5").paper_protocol
    assert not one(table, "eval.iw_samples=5").paper_protocol


def test_other_data_settings_are_not_the_papers_protocol():
    table = catalogue.load_table("nvil_mnist")
    paper = catalogue.load_preset("paper")

    for override, same in (
        ("data.held_out=null", False),
        ("data.mirror=/x", True),
        ("optim.rate=1e-3", True),
    ):
        cells_of_row = cells(table, paper, [override], ["row=SBN 200"])
        assert all(c.paper_protocol is same for c in cells_of_row), override


def test_a_validation_measure_asks_nothing_of_the_evaluation():
    table = catalogue.load_table("nvil_variance")
    short = catalogue.load_preset("short")

    assert all(
        c.paper_protocol for c in cells(table, short, ["eval.points=10", "eval.iw_samples=7"])
    )
