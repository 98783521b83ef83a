"""Columns with a measure of their own: how they are read, checked and composed, and how their
numbers are signed."""

from __future__ import annotations

import pytest

from vaebench.config import catalogue, compose, schema
from vaebench.errors import UserError
from vaebench.protocol.protocol import Protocol
from vaebench.protocol.registry import METRICS, is_timing
from vaebench.protocol.signature import signature
from vaebench.report.protocol import differing

CONTENT = {
    **{
        "title": "A table",
        "paper": "nobody 2000",
        "where": "Table 1",
        "recipe": 1,
        "measure": "nll",
    },
    **{
        "margin": 1.0,
        "margin_why": "why",
        "base": ["data=digits", "train.updates=2", "eval=exact"],
    },
    "columns": {
        "test": {},
        "train": {"set": ["eval.split=train"]},
        "ms": {"measure": "ms_per_update"},
    },
    "rows": {
        "a": {
            "set": ["model=rbm_generator", "objective=bit_gibbs"],
            "published": {"test": 1.5, "ms": 22},
        }
    },
}


@pytest.fixture
def table():
    return schema.exhibit("made_up", CONTENT)


def test_a_column_has_its_measure_or_the_tables(table):
    assert [table.measure_of(c) for c in ("test", "train", "ms", "literature")] == [
        "nll",
        "nll",
        "ms_per_update",
        "nll",
    ]


@pytest.mark.parametrize("name", ["ms_per_updat", 3, ["nll"]], ids=str)
def test_an_unknown_measure_is_refused(name):
    columns = {"ms": {"measure": name}}
    with pytest.raises(
        UserError, match=r"table made_up: columns\.ms\.measure .*ms_per_update"
    ) as e:
        schema.exhibit("made_up", {**CONTENT, "columns": columns, "rows": {}})
    assert "\n" not in str(e.value)


def test_columns_share_their_run(table):
    test, train, ms = compose.cells(table, catalogue.load_preset("paper"))
    assert test.key == train.key == ms.key
    assert [(c.measure, c.published) for c in (test, train, ms)] == [
        ("nll", 1.5),
        ("nll", None),
        ("ms_per_update", 22),
    ]
    assert [c.config["eval"]["split"] for c in (test, train, ms)] == ["test", "train", "test"]


@pytest.mark.parametrize(
    ("override", "same"),
    [
        # The last column is a time of training, on which the evaluation has no influence.
        ("eval.points=7", [False, False, True]),
        ("eval.split=valid", [False, False, True]),
        ("data=blank", [False, False, False]),
        ("run.threads=2", [True, True, True]),
    ],
)
def test_the_protocol_of_a_cell_is_that_of_its_columns_measure(table, override, same):
    cells = compose.cells(table, catalogue.load_preset("paper"), [override])
    assert [c.paper_protocol for c in cells] == same


def test_the_signature_of_a_time_has_the_data_and_the_recipe():
    config = {
        "data": {"name": "digits"},
        "eval": {"split": "test", "points": None},
        "train": {"select": "last"},
    }
    config |= {
        "recipe": 2,
        "model": {"name": "rbm_posterior"},
        "objective": {"name": "dvae_sharp_sharp", "valid_points": 50},
    }

    assert (
        signature(config, "ms_per_update", None, "8f3a12cd99")
        == "ms_per_update|data:digits@8f3a12cd|recipe:2"
    )
    assert [m for m in METRICS if is_timing(m)] == ["ms_per_update", "hours"]
    assert not is_timing("no such measure")


def test_training_images_are_called_so():
    template = "nll|data:digits@8f3a12cd|split:{}|points:7|select:valid_bound|recipe:1"
    for split, words in (("train", "training cases 7, not all"), ("test", "test cases 7, not all")):
        of_some_points = Protocol(template.format(split))
        assert (
            differing(of_some_points, Protocol(of_some_points.replace("points:7", "points:all")))
            == words
        )


def test_table_7_shows_three_numbers_of_each_run():
    table = catalogue.load_table("dvae_sharp_sharp_mcmc")
    for row, entry in table.rows.items():
        row_cells = [
            c for c in compose.cells(table, catalogue.load_preset("paper")) if c.row == row
        ]
        assert [c.measure for c in row_cells] == ["nll", "nll", "ms_per_update"]
        assert len({c.key for c in row_cells}) == 1
        assert [c.published for c in row_cells] == list(entry.published.values())
        assert all(c.config["eval"]["points"] is None for c in row_cells)
