"""The shipped configuration, conf/, read by name.

It has tables, presets, and the options of every config group.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from vaebench.config import schema
from vaebench.config.tables import Exhibit, Figure, Preset, Table
from vaebench.errors import UserError, nearest
from vaebench.settings import defaults
from vaebench.settings.defaults import conf_dir as conf_dir
from vaebench.settings.renamed import unknown


def options(group: str) -> list[str]:
    """Return the names of a config group's options ('table', 'preset', 'data', ...), sorted."""
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))


def about(group: str, name: str) -> str:
    """Return the first line of conf/<group>/<name>.yaml if it is a comment, else ''."""
    first_line = (conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8").split("\n", 1)[0]
    return first_line.lstrip("# ") if first_line.startswith("#") else ""


def load_yaml(group: str, name: str) -> dict[str, Any]:
    """Return the mapping in conf/<group>/<name>.yaml.

    If there is no such file, raise UserError with the nearest right name.
    """
    if name not in options(group):
        raise UserError(unknown(group, name, options(group)))
    return defaults.read(conf_dir() / group / f"{name}.yaml")


def load(name: str) -> Table | Figure:
    """Return conf/table/<name>.yaml, checked against the schema.

    Raises UserError naming the file and the key.
    """
    exhibit = _exhibit(name)
    for preset in exhibit.presets if isinstance(exhibit, Table) else ():
        if preset not in options("preset"):
            raise UserError(
                f"table {name}: presets.{preset}: no such preset: "
                f"{nearest(preset, options('preset'))}"
            )
    if isinstance(exhibit, Table):
        _check_links(exhibit)
    return exhibit


def _check_links(table: Table) -> None:
    """Refuse a row ``trained_by`` an entry that cannot train it.

    Such an entry is missing, measures something else, or is itself trained by another one.
    """
    # ``_exhibit`` instead of ``load``, which would check the links of those tables in turn.
    other_tables = {
        name: _exhibit(name)
        for name in dict.fromkeys(entry.table for entry in table.links.values())
    }
    for (row, column), entry in table.links.items():
        at = f"table {table.name}: rows.{row}.trained_by.{column}: "
        other = other_tables[entry.table]
        entries = other.trained() if isinstance(other, Table) else []
        if not isinstance(other, Table) or (entry.row, entry.column) not in entries:
            raise UserError(f"{at}{entry.table} trains no {entry.row!r} in {entry.column!r}")
        if (entry.row, entry.column) in other.links:
            raise UserError(
                f"{at}{entry} is itself trained by "
                f"{other.links[entry.row, entry.column]}; name that"
            )

        measure = table.measure_of(column)
        other_measure = other.measure_of(entry.column)
        if measure != other_measure:
            raise UserError(
                f"{at}{entry} is of the measure {other_measure}, this column of {measure}"
            )


def _exhibit(name: str) -> Table | Figure:
    """Return a table without checking what it names in other files."""
    # The ledger is taken out because its shared entries are in conf/ledger/; all other shared
    # entries are settings.
    raw = load_yaml("table", name)
    ledger = raw.pop("ledger", None)
    at = f"table {name}: "
    filled = {key: _with_shared_settings(value, f"{at}{key}") for key, value in raw.items()}
    return schema.exhibit(name, {**filled, "ledger": _with_shared(ledger, "ledger", f"{at}ledger")})


def load_table(name: str) -> Table:
    """Return a table that is trained, as ``load`` does; UserError for a figure of formulas."""
    exhibit = load(name)
    if not isinstance(exhibit, Table):
        raise UserError(f"{name}: drawn from formulas, nothing is trained")
    return exhibit


def _with_shared_settings(value: Any, where: str) -> Any:
    """Return a part of a table with the shared settings of conf/settings/ inserted.

    They are inserted where a list of settings names them.
    """
    # Lists of settings stand at several depths: base, rows.NAME.set, presets.NAME.columns.NAME, ...
    if isinstance(value, dict):
        return {key: _with_shared_settings(part, f"{where}.{key}") for key, part in value.items()}
    filled = _with_shared(value, "settings", where)
    if filled is value:
        return value

    # A shared entry is itself a list of settings, which is spliced in.
    return [text for entry in filled for text in (entry if isinstance(entry, list) else [entry])]


def _with_shared(entries: Any, group: str, where: str) -> Any:
    """Return a list in which the entries of conf/<group>/ replace ``shared: FAMILY/KEY``.

    Anything that is not such a list is returned as it is.
    """
    if not isinstance(entries, list) or not any(
        isinstance(entry, dict) and "shared" in entry for entry in entries
    ):
        return entries

    filled = []
    for i, entry in enumerate(entries, start=1):
        if isinstance(entry, dict) and "shared" in entry:
            at = f"{where} entry {i}"
            if len(entry) > 1:
                raise UserError(
                    f"{at}: shared: stands alone; leave out "
                    f"{', '.join(k for k in entry if k != 'shared')}"
                )
            entry = _shared(group, str(entry["shared"]), at)
        filled.append(entry)
    return filled


def _shared(group: str, name: str, at: str) -> Any:
    """Return the entry FAMILY/KEY of conf/<group>/."""
    family, _, key = name.partition("/")
    if family not in options(group):
        raise UserError(
            f"{at}: shared: {name!r}: no family {family!r}: {nearest(family, options(group))}"
        )

    entries = _family(group, family, conf_dir())
    if key not in entries:
        raise UserError(
            f"{at}: shared: no entry {name!r}: {nearest(name, [f'{family}/{k}' for k in entries])}"
        )
    return entries[key]


@lru_cache(maxsize=64)
def _family(group: str, family: str, conf: Path) -> dict[str, Any]:
    """Return the content of conf/<group>/<family>.yaml. It is shared: it must not be changed."""
    return schema.mapping(load_yaml(group, family), f"{group} {family}")


def load_preset(name: str) -> Preset:
    """Return conf/preset/<name>.yaml, checked against the schema.

    The file is read once, however often it is asked for.
    """
    return _preset(name, conf_dir())


@lru_cache(maxsize=64)
def _preset(name: str, conf: Path) -> Preset:
    return schema.preset(name, load_yaml("preset", name))


def presets_of(table: Exhibit) -> list[str]:
    """Return the names of the presets that apply to a table.

    These are ``paper``, the table's own presets, those of the tables that train its rows, and those
    that change any table. A figure of formulas has none, because nothing is trained.
    """
    if not isinstance(table, Table):
        return []
    other_tables = {entry.table for entry in table.links.values()}
    special = {*table.presets}.union(*(load_table(name).presets for name in other_tables))
    return [p for p in options("preset") if p == "paper" or p in special or load_preset(p).set]
