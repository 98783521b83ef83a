"""Words that may come next on a command line, as far as conf/ knows them.

A shell offers them when TAB is pressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vaebench.config import catalogue
from vaebench.config.cells import GROUPS, settings_of
from vaebench.config.tables import Table
from vaebench.errors import UserError
from vaebench.settings import defaults


def overrides(prefix: str) -> list[str]:
    """Return the overrides that begin with ``prefix``.

    They are ``table=NAME``, ``preset=NAME``, ``model=NAME`` and so on, and the keys of cell.yaml
    and of the options.
    """
    return [word for word in _overrides(prefix) if word.startswith(prefix)]


def _overrides(prefix: str) -> Iterator[str]:
    key, equals, value = prefix.partition("=")
    groups = ("table", "preset", *GROUPS)
    if equals and key in groups:
        # Several tables may be named; the names before the last comma are kept.
        earlier, comma, _ = value.rpartition(",") if key == "table" else ("", "", "")
        yield from (f"{key}={earlier}{comma}{name}" for name in catalogue.options(key))
    elif not equals:
        yield from (f"{group}=" for group in groups)
        yield from (f"{name}=" for name in keys())


def keys() -> list[str]:
    """Return the dotted keys of a cell: those of cell.yaml, and of every option of every group."""
    sections: list[tuple[str, dict[str, Any]]] = [
        (name, defaults.of_section(name)) for name in ("train", "run")
    ]
    sections += [
        (group, catalogue.load_yaml(group, name))
        for group in GROUPS
        for name in catalogue.options(group)
    ]
    return sorted({f"{name}.{key}" for name, section in sections for key in settings_of(section)})


def entries(prefix: str, line: str) -> list[str]:
    """Return ``row=`` and ``column=`` of the tables that the command line names."""
    words = [
        word
        for table in _tables(line)
        for r, c in table.trained()
        for word in (f"row={r}", f"column={c}")
    ]
    return [word for word in dict.fromkeys(words) if word.startswith(prefix)]


def _tables(line: str) -> Iterator[Table]:
    for names in re.findall(r"\btable=([\w,.-]+)", line):
        for name in names.split(","):
            try:
                yield catalogue.load_table(name)
            except UserError:
                continue
