"""From the plain mappings of table and preset files to the dataclasses of ``config``.

They are checked on the way. Every mistake is a UserError of one line that begins with its place:
``table NAME: rows.ROW: ...``.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vaebench.config.tables import (
    PLOTS,
    TRAINING,
    Column,
    Entry,
    Figure,
    Finding,
    Ledger,
    Preset,
    Row,
    Table,
    TablePreset,
)
from vaebench.errors import UserError, nearest
from vaebench.protocol.registry import METRICS
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.kinds import is_number

NOTHING_PUBLISHED = "nothing is published, so nothing is compared"
"""Reason for the margin if no row has a published number and the table gives no other reason."""


def exhibit(name: str, content: dict[str, Any]) -> Table | Figure:
    """Return a table, or a figure of formulas, made from the content of its file.

    ``shared`` entries of the ledger and of lists of settings must have been replaced already.
    """
    at = f"table {name}"
    raw = {"name": name, **content}
    raw["ledger"] = _entries(Ledger, raw.get("ledger"), f"{at}: ledger")
    raw["findings"] = _entries(Finding, raw.get("findings"), f"{at}: findings")
    raw["notes"] = _strings(raw.get("notes", []), f"{at}: notes")
    return _figure(raw, at) if "drawn" in raw else _table(raw, at)


def _figure(raw: dict[str, Any], at: str) -> Figure:
    for key in TRAINING:
        if key in raw:
            raise UserError(
                f"{at}: {key}: a drawn figure trains nothing and has none; leave it out"
            )

    figure: Figure = _build(Figure, raw, at)
    _check_texts(figure, ("title", "paper", "where"), at)
    if not isinstance(figure.drawn, str) or not figure.drawn:
        raise UserError(f"{at}: drawn: expected the name of a figure, found {figure.drawn!r}")
    return figure


def _table(raw: dict[str, Any], at: str) -> Table:
    # Columns first, then rows: what comes later is checked against their names.
    columns = {}
    for key, value in mapping(raw.pop("columns", None), f"{at}: columns").items():
        columns[key] = _column(value, f"{at}: columns.{key}")

    rows = {}
    for key, value in mapping(raw.pop("rows", None), f"{at}: rows").items():
        rows[key] = _row(value, columns, f"{at}: rows.{key}")

    presets = {
        key: _table_preset(value, columns, rows, f"{at}: presets.{key}")
        for key, value in mapping(raw.pop("presets", None), f"{at}: presets").items()
    }

    raw["base"] = _strings(raw.get("base", []), f"{at}: base")
    raw["seeds"] = _seeds(raw.get("seeds"), at) or (0,)

    # A margin must be justified. Without a published number there is nothing to justify.
    printed = any(v is not None for row in rows.values() for v in row.published.values())
    if not printed and not {"margin", "margin_why"} & set(raw):
        raw |= {"margin": 0.0, "margin_why": NOTHING_PUBLISHED}

    table: Table = _build(Table, {"columns": columns, "rows": rows, "presets": presets, **raw}, at)
    _check_scalars(table, at)
    return table


def preset(name: str, content: dict[str, Any]) -> Preset:
    """Return a preset made from the content of its file."""
    raw = dict(content)
    raw["set"] = _strings(raw.get("set", []), f"preset {name}: set")
    raw["seeds"] = _seeds(raw.get("seeds"), f"preset {name}")
    return _build(Preset, {"name": name, **raw}, f"preset {name}")


def _check_scalars(table: Table, at: str) -> None:
    _check_texts(
        table, ("title", "paper", "where", "measure", "margin_why", "kind", "published_csv"), at
    )
    if table.kind not in ("table", "figure"):
        raise UserError(f"{at}: kind {table.kind!r}: {nearest(table.kind, ['table', 'figure'])}")
    if table.figure not in PLOTS:
        raise UserError(f"{at}: figure {table.figure!r}: {nearest(str(table.figure), PLOTS)}")
    if type(table.recipe) is not int or table.recipe < 1:
        raise UserError(f"{at}: recipe: expected a whole number from 1, found {table.recipe!r}")

    # One run has no standard deviation.
    runs = table.published_runs
    if runs is not None and (type(runs) is not int or runs < 2):
        raise UserError(
            f"{at}: published_runs: expected a whole number from 2, or nothing, found {runs!r}"
        )
    if not is_number(table.margin) or table.margin < 0:
        raise UserError(f"{at}: margin: expected a number of nats from 0, found {table.margin!r}")


def _check_texts(exhibit: Table | Figure | Column, names: tuple[str, ...], at: str) -> None:
    for name in names:
        if not isinstance(getattr(exhibit, name), str):
            raise UserError(f"{at}: {name}: expected text, found {getattr(exhibit, name)!r}")


def _column(value: Any, where: str) -> Column:
    value = mapping(value, where)
    value["set"] = _strings(value.get("set", []), f"{where}.set")
    if value.get("measure", "") not in ("", *METRICS):
        raise UserError(
            f"{where}.measure {value['measure']!r}: {nearest(str(value['measure']), METRICS)}"
        )
    column: Column = _build(Column, value, where)
    _check_texts(column, ("note", "published", "indicative"), where)
    return column


def _row(value: Any, columns: dict[str, Column], where: str) -> Row:
    value = mapping(value, where)
    value["set"] = _strings(value.get("set", []), f"{where}.set")

    # None: the row is trained in all columns; an empty list: in none.
    trained = value.get("columns")
    if trained is not None:
        value["columns"] = _strings(trained, f"{where}.columns")
        for column in value["columns"]:
            if column not in columns:
                raise UserError(
                    f"{where}.columns: unknown column {column!r}: {nearest(column, columns)}"
                )

    entries = mapping(value.get("entries"), f"{where}.entries")
    value["entries"] = {
        column: _strings(texts, f"{where}.entries.{column}") for column, texts in entries.items()
    }
    for column in entries:
        if column not in (columns if trained is None else trained):
            raise UserError(
                f"{where}.entries: {column!r} is not trained here: "
                f"{nearest(column, trained or columns)}"
            )

    # Not checked against the columns, because columns of the literature are named only here.
    value["published"] = mapping(value.get("published"), f"{where}.published")
    for column, number in value["published"].items():
        if number is not None and not is_number(number):
            raise UserError(
                f"{where}.published.{column}: expected a number or null, found {number!r}"
            )

    value["spread"] = mapping(value.get("spread"), f"{where}.spread")
    for column, number in value["spread"].items():
        if value["published"].get(column) is None:
            raise UserError(
                f"{where}.spread: {column!r} has no published number: "
                f"{nearest(column, value['published'])}"
            )
        if not is_number(number) or number < 0:
            raise UserError(f"{where}.spread.{column}: expected a number from 0, found {number!r}")

    if not isinstance(value.get("diverges", False), bool):
        raise UserError(f"{where}.diverges: expected true or false, found {value['diverges']!r}")

    value["trained_by"] = _links(value, columns, where)
    return _build(Row, value, where)


def _links(row: dict[str, Any], columns: dict[str, Column], where: str) -> dict[str, Entry]:
    """Return the entries of other tables that train those of a row, by column."""
    links = {}
    for column, place in mapping(row.get("trained_by"), f"{where}.trained_by").items():
        here = f"{where}.trained_by.{column}"
        trained = row.get("columns")
        if column not in (columns if trained is None else trained):
            raise UserError(
                f"{here}: not trained here: "
                f"{nearest(column, columns if trained is None else trained)}"
            )
        # The entry has all settings of the other table, so any given here would have no effect.
        if row["set"] or columns[column].set or column in row["entries"]:
            raise UserError(
                f"{here}: settings are those of the other table; this row and this column have none"
            )

        links[column] = _build(Entry, place, here)
        for field in fields(Entry):
            if not isinstance(getattr(links[column], field.name), str):
                raise UserError(
                    f"{here}.{field.name}: expected a name, "
                    f"found {getattr(links[column], field.name)!r}"
                )
    return links


def _table_preset(
    value: Any, columns: dict[str, Column], rows: dict[str, Row], where: str
) -> TablePreset:
    value = mapping(value, where)
    value["set"] = _strings(value.get("set", []), f"{where}.set")
    value["seeds"] = _seeds(value.get("seeds"), where)

    per_column = mapping(value.get("columns"), f"{where}.columns")
    value["columns"] = {
        column: _strings(texts, f"{where}.columns.{column}") for column, texts in per_column.items()
    }
    value["rows"] = {
        row: {
            column: _strings(texts, f"{where}.rows.{row}.{column}")
            for column, texts in mapping(per_row, f"{where}.rows.{row}").items()
        }
        for row, per_row in mapping(value.get("rows"), f"{where}.rows").items()
    }

    for column in value["columns"]:
        if column not in columns:
            raise UserError(
                f"{where}.columns: unknown column {column!r}: {nearest(column, columns)}"
            )
    for row, per_row in value["rows"].items():
        if row not in rows:
            raise UserError(f"{where}.rows: unknown row {row!r}: {nearest(row, rows)}")
        for column in per_row:
            if column != "*" and column not in columns:
                raise UserError(
                    f"{where}.rows.{row}: unknown column {column!r}: "
                    f"{nearest(column, [*columns, '*'])}"
                )

    return _build(TablePreset, value, where)


def _entries(cls: type, entries: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(entries or [], list):
        raise UserError(f"{where}: expected a list of entries, found {entries!r}")
    return tuple(
        _build(cls, entry, f"{where} entry {i}") for i, entry in enumerate(entries or [], start=1)
    )


def _build(cls: type, content: Any, where: str) -> Any:
    """Make a dataclass from a mapping; a missing or unknown key is a UserError."""
    if not isinstance(content, dict):
        raise UserError(
            f"{where}: expected a mapping with {', '.join(f.name for f in fields(cls))}"
        )

    names = {f.name for f in fields(cls)}
    for key in content:
        if key not in names:
            raise UserError(f"{where}: unknown key {key!r}: {nearest(str(key), names)}")

    # Python's own line ends in: missing 2 required positional arguments: 'row' and 'column'.
    try:
        return cls(**content)
    except TypeError as e:
        missing = str(e).split("argument", 1)[-1].strip("s: ")
        raise UserError(f"{where}: missing {missing}") from None


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return a copy of a mapping with text as keys (YAML reads a bare 5 as a number).

    None becomes an empty mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping, found {value!r}")
    return {str(k): v for k, v in value.items()}


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UserError(
            f"{where}: expected a list of overrides such as [optim.rate=3e-4], found {value!r}"
        )
    return tuple(value)


def _seeds(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(_is_seed, value)) or not value:
        raise UserError(
            f"{where}: seeds must be a list of whole numbers from 0 to {LARGEST_SEED} (2^63 - "
            f"1), found {value!r}"
        )
    return tuple(value)


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_SEED
