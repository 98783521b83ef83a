"""Table and preset files: what is accepted, and that every mistake gets one line."""

from __future__ import annotations

import copy
import re

import pytest
import yaml

from vaebench.config import catalogue, compose
from vaebench.config.cells import canonical, run_key
from vaebench.config.tables import Table
from vaebench.errors import UserError, nearest
from vaebench.protocol.signature import signature

TABLE = {
    "title": "A small table",
    "paper": "someone2014",
    "where": "Table 1",
    "recipe": 2,
    "measure": "bound",
    "margin": 0.5,
    "margin_why": "seeds differ by that much",
    "seeds": [0, 1],
    "base": ["data=digits"],
    "columns": {"A": {"set": ["objective=nvil"]}, "B": None},
    "rows": {
        "one": {"set": ["model.dims=[5]"], "published": {"A": 10.5, "B": None}},
        "two": {"columns": ["B"]},
        "paper only": {"columns": [], "published": {"NLL": 88.9}, "source": "Others 2011"},
    },
    "presets": {
        "tuned": {
            "set": ["optim.rate=0.1"],
            "rows": {"one": {"*": ["train.batch=3"]}},
            "seeds": [4],
        }
    },
    "ledger": [{"topic": "t", "paper": "silent", "here": "h", "why": "w"}],
}


def write(conf, content, name="small"):
    (conf / "table" / f"{name}.yaml").write_text(
        content if isinstance(content, str) else yaml.safe_dump(content)
    )


def changed(**changes):
    return {**copy.deepcopy(TABLE), **changes}


def spread(**numbers):
    return {"published": {"A": 10.5, "B": None}, "spread": numbers}


def test_a_table_is_read(conf):
    write(conf, TABLE)
    table = catalogue.load_table("small")

    assert table.name == "small"
    assert table.trained() == [("one", "A"), ("one", "B"), ("two", "B")]
    assert table.rows["one"].published == {"A": 10.5, "B": None}
    assert table.columns["B"].set == ()
    assert table.presets["tuned"].rows == {"one": {"*": ("train.batch=3",)}}
    assert table.presets["tuned"].seeds == (4,)
    assert table.ledger[0].here == "h"


def test_optional_parts_may_be_left_out_or_empty(conf):
    write(conf, changed(presets=None, ledger=None, seeds=None))
    table = catalogue.load_table("small")

    assert (table.presets, table.ledger, table.seeds) == ({}, (), (0,))


def test_a_bare_number_is_a_name(conf):
    write(
        conf,
        changed(
            columns={5: None}, rows={200: {"columns": ["5"], "published": {5: 1.0}}}, presets=None
        ),
    )
    table = catalogue.load_table("small")

    assert table.trained() == [("200", "5")]
    assert table.rows["200"].published == {"5": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"titel": "x"}, ["unknown key 'titel'", "did you mean 'title'"]),
        ({"rows": {"one": {"sets": []}}}, ["rows.one", "'sets'", "did you mean 'set'"]),
        ({"rows": {"one": ["x"]}}, ["rows.one", "expected a mapping"]),
        ({"rows": {"one": {"columns": ["C"]}}}, ["rows.one.columns", "'C'", "allowed: A, B"]),
        (
            {"rows": {"one": {"entries": {"C": ["a=1"]}}}},
            ["rows.one.entries", "'C'", "allowed: A, B"],
        ),
        (
            {"rows": {"one": {"columns": ["B"], "entries": {"A": ["a=1"]}}}},
            ["rows.one.entries", "'A'", "allowed: B"],
        ),
        ({"rows": {"one": {"entries": {"A": "a=1"}}}}, ["rows.one.entries.A", "list of overrides"]),
        (
            {"rows": {"one": {"published": {"A": "10.5"}}}},
            ["rows.one.published.A", "number or null", "'10.5'"],
        ),
        ({"rows": {"one": {"published": {"A": True}}}}, ["rows.one.published.A", "number or null"]),
        ({"rows": {"one": spread(A="0.1")}}, ["rows.one.spread.A", "number from 0", "'0.1'"]),
        ({"rows": {"one": spread(A=-0.1)}}, ["rows.one.spread.A", "number from 0"]),
        (
            {"rows": {"one": spread(B=0.1)}},
            ["rows.one.spread", "'B' has no published number", "allowed: A"],
        ),
        ({"columns": {"A": {"set": "objective=nvil"}}}, ["columns.A.set", "list of overrides"]),
        ({"columns": {"A": ["objective=nvil"]}}, ["columns.A", "expected a mapping"]),
        ({"columns": {"A": {"indicative": True}}}, ["columns.A", "indicative", "expected text"]),
        ({"seeds": [0, -1]}, ["seeds", "whole numbers from 0"]),
        ({"seeds": []}, ["seeds", "whole numbers from 0"]),
        ({"margin": "0.5"}, ["margin", "number of nats"]),
        ({"margin": -1}, ["margin", "number of nats"]),
        ({"recipe": "one"}, ["recipe", "whole number"]),
        ({"title": ["x"]}, ["title", "expected text"]),
        ({"kind": "tabel"}, ["kind", "did you mean 'table'"]),
        ({"kind": 3}, ["kind", "expected text"]),
        ({"ledger": {"topic": "t"}}, ["ledger", "list of entries"]),
        ({"ledger": [{"topic": "t"}]}, ["ledger entry 1", "missing", "'why'"]),
        ({"presets": {"tunde": {}}}, ["presets.tunde", "did you mean 'tuned'"]),
        ({"presets": {"tuned": {"columns": {"C": []}}}}, ["presets.tuned.columns", "'C'"]),
        (
            {"presets": {"tuned": {"rows": {"onne": {}}}}},
            ["presets.tuned.rows", "did you mean 'one'"],
        ),
        (
            {"presets": {"tuned": {"rows": {"one": {"C": []}}}}},
            ["presets.tuned.rows.one", "'C'", "*"],
        ),
    ],
)
def test_a_mistake_in_a_table_gets_one_line(conf, changes, words):
    write(conf, changed(**changes))
    with pytest.raises(UserError) as caught:
        catalogue.load_table("small")

    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in ["table small", *words]), line


def test_a_missing_key_is_named(conf):
    content = changed()
    del content["margin_why"]
    write(conf, content)

    with pytest.raises(UserError, match=r"table small: missing .*'margin_why'"):
        catalogue.load_table("small")


UNPRINTED = {"one": {"published": {"A": None}}, "two": None}


def without_margin(**changes):
    content = changed(**changes)
    del content["margin"], content["margin_why"]
    return content


def test_a_table_without_published_numbers_needs_no_margin(conf):
    write(conf, without_margin(rows=UNPRINTED))
    table = catalogue.load_table("small")

    assert (table.margin, table.margin_why) == (0.0, "nothing is published, so nothing is compared")

    write(conf, changed(rows=UNPRINTED))
    assert catalogue.load_table("small").margin == 0.5


def test_a_table_with_published_numbers_needs_a_margin(conf):
    write(conf, without_margin())
    with pytest.raises(UserError, match=r"table small: missing 'margin' and 'margin_why'"):
        catalogue.load_table("small")

    # A margin needs its reason.
    write(conf, {**without_margin(rows=UNPRINTED), "margin": 0.5})
    with pytest.raises(UserError, match=r"table small: missing 'margin_why'"):
        catalogue.load_table("small")

    write(
        conf,
        without_margin(
            rows={"paper only": {"columns": [], "published": {"NLL": 88.9}}}, presets=None
        ),
    )
    with pytest.raises(UserError, match="missing 'margin'"):
        catalogue.load_table("small")


@pytest.mark.parametrize(
    ("text", "word"),
    [("rows: [a", "not valid YAML"), ("- a\n", "expected a mapping"), ("", "expected a mapping")],
)
def test_a_file_that_is_no_table_is_named(conf, text, word):
    write(conf, text)
    with pytest.raises(UserError, match=word) as caught:
        catalogue.load_table("small")
    assert "small.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_suggest_the_nearest(conf):
    write(conf, TABLE)
    with pytest.raises(UserError, match="did you mean 'small'"):
        catalogue.load_table("smal")
    with pytest.raises(UserError, match="did you mean 'quick'"):
        catalogue.load_preset("quikc")
    with pytest.raises(UserError, match=r"unknown table '\.\./preset/quick'"):
        catalogue.load_table("../preset/quick")


def test_shipped_presets_load():
    presets = {name: catalogue.load_preset(name) for name in catalogue.options("preset")}
    assert presets["paper"].label == ""
    assert all(p.label for name, p in presets.items() if name != "paper")


def test_a_table_lists_the_presets_it_supports(conf):
    """The presets that the table itself speaks of, and those that change any table."""
    write(conf, TABLE)
    assert catalogue.presets_of(catalogue.load_table("small")) == [
        "paper",
        "quick",
        "short",
        "tuned",
    ]

    write(conf, changed(presets=None))
    assert catalogue.presets_of(catalogue.load_table("small")) == ["paper", "quick", "short"]


@pytest.mark.parametrize("name", catalogue.options("table"))
def test_what_is_said_of_a_preset_is_true_of_the_table(name):
    """What a preset says of itself for this table names only presets that the table has."""
    table = catalogue.load(name)
    if not isinstance(table, Table):
        return
    supported = catalogue.presets_of(table)

    for preset in map(table.in_its_words, map(catalogue.load_preset, supported)):
        assert set(re.findall(r"preset=(\w+)", preset.about)) <= set(supported), preset.name
        assert "tuned" not in preset.label or "tuned" in supported, preset.name


def test_a_table_s_own_words_for_a_preset_stand_behind_its_verdicts():
    table = catalogue.load_table("nade_orders")
    preset = catalogue.load_preset("long")

    assert table.in_its_words(preset).about.startswith("ten times the updates")
    assert {cell.label for cell in compose.cells(table, preset)} == {"long"}
    assert catalogue.load_table("nvil_mnist").in_its_words(preset) == preset


def test_nearest_lists_what_is_allowed():
    assert nearest("zzzz", ["b", "a"]) == "allowed: a, b"
    assert nearest("x", []) == "allowed: (none)"


def _cell_config(**changes):
    return {
        "data": {"name": "digits"},
        "model": {"name": "sbn", "dims": [200, 100]},
        "objective": {"name": "nvil"},
        "optim": {"rate": 1.0},
        "train": {"select": "last"},
        "recipe": 1,
        "eval": {"split": "test", "points": None},
        "run": {"device": "auto"},
        **changes,
    }


def test_run_key_is_of_the_training_alone():
    key = run_key(_cell_config())
    assert key.startswith("digits-sbn200-100-nvil-")
    assert run_key(_cell_config(run={"device": "cpu"}, eval={"split": "valid"})) == key
    assert run_key(_cell_config(optim={"rate": 1})) == key
    assert run_key(_cell_config(optim={"rate": 1.5})) != key
    assert run_key(_cell_config(recipe=2)) != key


def test_canonical_is_blind_to_order_and_refuses_nan():
    assert (
        canonical({"b": 1.0, "a": [2, 0.5]})
        == canonical({"a": (2.0, 0.5), "b": 1})
        == '{"a":[2,0.5],"b":1}'
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def test_signature_names_the_protocol():
    assert signature(_cell_config(), "bound", 10, "8f3a12cd99") == (
        "bound|data:digits@8f3a12cd|split:test|points:all|samples:10|select:last|recipe:1"
    )
    assert "points:100" in signature(
        _cell_config(eval={"split": "test", "points": 100}), "bound", 10
    )
    assert "samples" not in signature(_cell_config(), "iw_nll", None)


def test_a_table_narrowed_to_some_entries(conf):
    write(
        conf,
        changed(
            rows={
                "one": spread(A=0.2),
                "two": {"columns": ["B"]},
                "paper only": TABLE["rows"]["paper only"],
            }
        ),
    )
    table = catalogue.load_table("small")
    narrowed = table.narrowed([("one", "B"), ("two", "B")])

    assert narrowed.trained() == [("one", "B"), ("two", "B")]
    assert (narrowed.rows["one"].published, narrowed.rows["one"].spread) == ({"B": None}, {})
    assert (table.printed, narrowed.printed) == (True, False)
    assert table.narrowed([("one", "A")]).rows["one"].spread == {"A": 0.2}
    assert table.narrowed(table.trained()).rows.keys() == {"one", "two"}
