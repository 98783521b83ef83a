"""docs/tables.md names every key of a table's file."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from vaebench.config import tables

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
OF = {
    "a table": tables.Table,
    "a column": tables.Column,
    "a row": tables.Row,
    "a preset in a table": tables.TablePreset,
}


@pytest.mark.parametrize("what", OF)
def test_every_key_is_named(what):
    part = re.split(r"\n##+ ", PAGE.split(f"Keys of {what}\n", 1)[1])[0]
    named = re.findall(r"^\| `(\w+)`", part, re.M)

    assert len(named) == len(set(named))

    # Only a figure of formulas has the key ``drawn``, but it stands in the same kind of file.
    not_a_field = {"drawn"} if OF[what] is tables.Table else set()
    assert set(named) == {f.name for f in fields(OF[what])} - {"name"} | not_a_field


@pytest.mark.parametrize("entry", [tables.Ledger, tables.Finding])
def test_entries_have_their_keys(entry):
    assert f"entries {', '.join(f'`{f.name}`' for f in fields(entry))}" in PAGE


def test_every_figure_is_named():
    part = PAGE.split("## Figures\n", 1)[1]
    assert all(f"`{name}`" in part for name in tables.PLOTS)
    assert all(
        f"`{f.name}`" in part or f.name in ("name", "drawn", "kind") for f in fields(tables.Figure)
    )
