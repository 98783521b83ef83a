"""Entries of the ledger that several tables share: how they are named, and that nothing stands twice."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from vaebench.config import catalogue
from vaebench.errors import UserError

OWN = {"topic": "own", "paper": "silent", "here": "so", "why": "simple"}
FAMILY = {key: {"topic": key, "paper": "p", "here": "h", "why": "w"} for key in ("rate", "sweeps")}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def read(conf):
    """A function from a ledger to that of the table that has it; one family, ``tiny``, is shared."""

    def make(ledger, family=FAMILY):
        (conf / "ledger" / "tiny.yaml").write_text(yaml.safe_dump(family))
        table = {"title": "t", "paper": "p", "where": "w", "recipe": 1, "measure": "bound", "ledger": ledger}
        (conf / "table" / "small.yaml").write_text(yaml.safe_dump(table))
        return catalogue.load_table("small").ledger

    return make


def test_shared_entries_stand_where_they_are_named(read):
    found = read([{"shared": "tiny/sweeps"}, OWN, {"shared": "tiny/rate"}])
    assert [e.topic for e in found] == ["sweeps", "own", "rate"]
    assert (found[0].paper, found[0].here, found[0].why) == ("p", "h", "w")


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        ([OWN, {"shared": "tiny/sweps"}], ["ledger entry 2", "'tiny/sweps'", "did you mean 'tiny/sweeps'"]),
        ([{"shared": "tinny/sweeps"}], ["ledger entry 1", "no family 'tinny'", "did you mean 'tiny'"]),
        ([{"shared": "tiny"}], ["no entry 'tiny'", "allowed: tiny/rate, tiny/sweeps"]),
        ([{"shared": "../table/small"}], ["no family '..'"]),
        ([{"shared": None}], ["no family 'None'", "allowed: "]),
        ([{"shared": "tiny/rate", "why": "w"}], ["ledger entry 1", "stands alone", "leave out why"]),
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


# ---------------------------------------------------------------------------------------------- what is shipped


def test_nothing_is_written_twice_and_nothing_is_shared_by_one_alone():
    own: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for name in catalogue.options("table"):
        entries = catalogue.load_yaml("table", name).get("ledger") or []
        own.update(yaml.safe_dump(e) for e in entries if "shared" not in e)
        shared.update(e["shared"] for e in entries if "shared" in e)
    assert [text for text, n in own.items() if n > 1] == []
    there = {
        f"{f}/{key}": e for f in catalogue.options("ledger") for key, e in catalogue.load_yaml("ledger", f).items()
    }
    assert set(shared) == set(there)
    assert [key for key, n in shared.items() if n < 2] == []
    assert not set(own) & {yaml.safe_dump(e) for e in there.values()}
    assert all(re.fullmatch(r"[a-z]+/[a-z_]+", key) for key in there)


def test_the_files_are_part_of_the_wheel():
    """The package vaebench.conf is the folder conf/, with whatever its patterns find."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    conf = ROOT / settings["package-dir"]["vaebench.conf"]
    shipped = {p for pattern in settings["package-data"]["vaebench.conf"] for p in conf.glob(pattern)}
    assert {p for p in shipped if p.parent.name == "ledger"} == set((conf / "ledger").iterdir())
    assert (conf / "ledger" / "dvae.yaml") in shipped
