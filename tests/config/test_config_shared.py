"""Entries of the ledger and lists of settings that tables share: how a table names them, and that
nothing is written twice."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

import pytest
import yaml
from kit.repository import ROOT

from vaebench.config import catalogue
from vaebench.errors import UserError

OWN = {"topic": "own", "paper": "silent", "here": "so", "why": "simple"}
FAMILY = {key: {"topic": key, "paper": "p", "here": "h", "why": "w"} for key in ("rate", "sweeps")}


@pytest.fixture
def read(conf):
    """Return a function that writes a table with the given ledger and returns its ledger as read.

    ``family``: the entries that are shared under the name ``tiny``.
    """

    def make(ledger, family=FAMILY):
        (conf / "ledger" / "tiny.yaml").write_text(yaml.safe_dump(family))
        table = {
            "title": "t",
            "paper": "p",
            "where": "w",
            "recipe": 1,
            "measure": "bound",
            "ledger": ledger,
        }
        (conf / "table" / "small.yaml").write_text(yaml.safe_dump(table))
        return catalogue.load_table("small").ledger

    return make


def test_shared_entries_stand_where_they_are_named(read):
    entries = read([{"shared": "tiny/sweeps"}, OWN, {"shared": "tiny/rate"}])
    assert [e.topic for e in entries] == ["sweeps", "own", "rate"]
    assert (entries[0].paper, entries[0].here, entries[0].why) == ("p", "h", "w")


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        (
            [OWN, {"shared": "tiny/sweps"}],
            ["ledger entry 2", "'tiny/sweps'", "did you mean 'tiny/sweeps'"],
        ),
        (
            [{"shared": "tinny/sweeps"}],
            ["ledger entry 1", "no family 'tinny'", "did you mean 'tiny'"],
        ),
        ([{"shared": "tiny"}], ["no entry 'tiny'", "allowed: tiny/rate, tiny/sweeps"]),
        ([{"shared": "../table/small"}], ["no family '..'"]),
        ([{"shared": None}], ["no family 'None'", "allowed: "]),
        (
            [{"shared": "tiny/rate", "why": "w"}],
            ["ledger entry 1", "stands alone", "leave out why"],
        ),
        ([{"shard": "tiny/rate"}], ["ledger entry 1", "unknown key 'shard'"]),
        ("tiny/rate", ["ledger", "list of entries"]),
    ],
)
def test_a_mistake_gets_one_line(read, ledger, words):
    with pytest.raises(UserError) as caught:
        read(ledger)

    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in ["table small: ledger", *words]), line


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ({"rate": {"topic": "t"}}, ["table small: ledger entry 1", "missing", "'why'"]),
        ({"rate": "so"}, ["table small: ledger entry 1", "expected a mapping with topic"]),
        (["rate"], ["tiny.yaml", "expected a mapping"]),
    ],
)
def test_a_mistake_in_a_family_gets_one_line(read, family, words):
    with pytest.raises(UserError) as caught:
        read([{"shared": "tiny/rate"}], family)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.fixture
def settings(conf):
    """Return a function that writes a table with the given parts and returns it as read.

    The settings ``tiny/few`` are shared.
    """
    (conf / "settings").mkdir(exist_ok=True)
    (conf / "settings" / "tiny.yaml").write_text(
        "few: [train.updates=3, train.batch=2]\nword: quick\n"
    )

    def make(**parts):
        table = {
            "title": "t",
            "paper": "p",
            "where": "w",
            "recipe": 1,
            "measure": "bound",
            "columns": {"c": {}},
            **parts,
        }
        (conf / "table" / "small.yaml").write_text(yaml.safe_dump(table))
        return catalogue.load_table("small")

    return make


FEW = {"shared": "tiny/few"}


def test_shared_settings_stand_where_a_list_names_them(settings):
    table = settings(
        base=["model=sbn", FEW],
        rows={"a": {"set": [FEW, "optim.rate=1"], "entries": {"c": [FEW]}}},
        presets={
            "quick": {
                "set": [FEW, FEW],
                "columns": {"c": [FEW]},
                "rows": {"a": {"*": ["seeds=1", FEW]}},
            }
        },
    )
    few = ("train.updates=3", "train.batch=2")

    assert table.base == ("model=sbn", *few)
    assert table.rows["a"].set == (*few, "optim.rate=1")
    assert table.rows["a"].entries == {"c": few}

    quick = table.presets["quick"]
    assert (quick.set, quick.columns, quick.rows) == (
        few + few,
        {"c": few},
        {"a": {"*": ("seeds=1", *few)}},
    )


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ({"shared": "tiny/fw"}, ["rows.a.set entry 2", "'tiny/fw'", "did you mean 'tiny/few'"]),
        (
            {"shared": "tinny/few"},
            ["rows.a.set entry 2", "no family 'tinny'", "did you mean 'tiny'"],
        ),
        (
            {"shared": "tiny/few", "more": 1},
            ["rows.a.set entry 2", "stands alone", "leave out more"],
        ),
        ({"shard": "tiny/few"}, ["rows.a.set", "expected a list of overrides"]),
    ],
)
def test_a_mistake_in_shared_settings_gets_one_line(settings, shared, words):
    with pytest.raises(UserError) as caught:
        settings(rows={"a": {"set": ["model=sbn", shared]}})

    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in ["table small: ", *words]), line


# ---------------------------------------------------------------------------------- what is shipped


def test_nothing_is_written_twice_and_nothing_is_shared_by_one_alone():
    own_texts: Counter[str] = Counter()
    times_named: Counter[str] = Counter()

    for name in catalogue.options("table"):
        entries = catalogue.load_yaml("table", name).get("ledger") or []
        own_texts.update(yaml.safe_dump(e) for e in entries if "shared" not in e)
        times_named.update(e["shared"] for e in entries if "shared" in e)

    assert [text for text, n in own_texts.items() if n > 1] == []

    shared_entries = {
        f"{f}/{key}": e
        for f in catalogue.options("ledger")
        for key, e in catalogue.load_yaml("ledger", f).items()
    }
    assert set(times_named) == set(shared_entries)
    assert [key for key, n in times_named.items() if n < 2] == []
    assert not set(own_texts) & {yaml.safe_dump(e) for e in shared_entries.values()}
    assert all(re.fullmatch(r"[a-z]+/[a-z_]+", key) for key in shared_entries)


def test_the_files_are_part_of_the_wheel():
    """The package vaebench.conf is the folder conf/; a wheel has what its patterns find."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    conf = ROOT / settings["package-dir"]["vaebench.conf"]
    shipped = {
        p for pattern in settings["package-data"]["vaebench.conf"] for p in conf.glob(pattern)
    }

    assert {p for p in shipped if p.parent.name == "ledger"} == set((conf / "ledger").iterdir())
    assert (conf / "ledger" / "dvae.yaml") in shipped


def test_every_shared_list_of_settings_stands_in_several_places_and_nowhere_else():
    files = {name: catalogue.load_yaml("table", name) for name in catalogue.options("table")}
    lists = [part for table in files.values() for part in lists_of(table)]
    entries = [entry for part in lists for entry in part if isinstance(entry, dict)]
    named = Counter(entry.get("shared") for entry in entries)

    for family in catalogue.options("settings"):
        for key, shared in catalogue.load_yaml("settings", family).items():
            # Named at least twice, and not written out anywhere.
            assert named[f"{family}/{key}"] > 1, key
            assert not any(set(shared) <= set(map(str, part)) for part in lists), key


def lists_of(part):
    """Every list in a part of a table, however deep; lists within lists are not taken apart."""
    if isinstance(part, dict):
        return [inner for value in part.values() for inner in lists_of(value)]
    return [part] if isinstance(part, list) else []
