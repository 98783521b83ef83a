"""Choices made by the arguments of a command: tables, a preset, seeds, entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaebench.config import catalogue
from vaebench.config.tables import Preset, Table, entry_named
from vaebench.config.values import refuse_prefix
from vaebench.errors import TYPO, UserError, likely, nearest
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.renamed import unknown

MAX_SEEDS = 10_000


@dataclass(frozen=True)
class Selection:
    """The tables, the preset and the overrides that the arguments of a verb name.

    Tables and preset are names; the overrides are in their order.
    """

    tables: tuple[str, ...]
    preset: str
    overrides: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Selection:
    """Read ``table=a,b [preset=p] [key=value ...]``.

    Raises UserError if a name is unknown or ``=`` is missing.
    """
    tables: list[str] = []
    preset = "paper"
    overrides: list[str] = []

    for argument in arguments:
        refuse_prefix(argument)
        key, equals, value = argument.partition("=")
        if argument in catalogue.options("table"):
            raise UserError(f"{argument!r} is not an override: did you mean 'table={argument}'?")
        if not equals or not key.strip():
            raise UserError(
                f"{argument!r} is not an override: write key=value, such as "
                "table=NAME or optim.rate=3e-4"
            )

        if key == "table":
            tables += [name.strip() for name in value.split(",") if name.strip()]
        elif key == "preset":
            preset = value.strip()
        else:
            overrides.append(argument)

    table_names = catalogue.options("table")
    if not tables:
        # A mistyped "table" has gone to the overrides.
        keys = [text.partition("=")[0] for text in overrides]
        mistyped = next((key for key in keys if likely(key, ["table"], TYPO)), "")
        hint = (
            f"unknown key {mistyped!r}: did you mean 'table'? " if mistyped else "no table given: "
        )
        raise UserError(f"{hint}write table=NAME; {nearest('', table_names)}")

    for name in tables:
        if name not in table_names:
            raise UserError(unknown("table", name, table_names))

    if preset not in catalogue.options("preset"):
        raise UserError(
            f"unknown preset {preset!r}: {nearest(preset, catalogue.options('preset'))}"
        )

    return Selection(tuple(dict.fromkeys(tables)), preset, tuple(overrides))


def seeds(table: Table, preset: Preset, given: str | None) -> list[int]:
    """Return the seeds to run: ``given`` (``0-4``, ``0-2,7``), else those of the files.

    The files' seeds are those of the table for this preset, else the preset's, else the table's.
    Raises UserError if ``given`` cannot be read.
    """
    if given is None:
        # From the most special to the most general; the first one with seeds counts.
        special = table.presets.get(preset.name)
        return list((special and special.seeds) or preset.seeds or table.seeds)

    # A dict keeps the order in which they are written, and each seed once.
    chosen: dict[int, None] = {}
    for part in given.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not (first.isascii() and first.isdigit()) or (
            dash and not (last.isascii() and last.isdigit())
        ):
            raise UserError(
                f"--seeds {given!r}: write whole numbers and ranges, such as 0-4 or 0,2,5 or 0-2,7"
            )
        low = _seed(first)
        high = _seed(last or first)
        if high < low:
            raise UserError(
                f"--seeds {given!r}: the range {part.strip()} runs backwards; write {high}-{low}"
            )
        if high > LARGEST_SEED:
            raise UserError(
                f"--seeds {given!r}: allowed: whole numbers from 0 to {LARGEST_SEED} (2^63 - 1)"
            )
        # Checked before the range is made, which might be too long for the memory.
        if high - low + len(chosen) >= MAX_SEEDS:
            raise UserError(f"--seeds {given!r}: more than {MAX_SEEDS} seeds")
        chosen.update(dict.fromkeys(range(low, high + 1)))

    return list(chosen)


def _seed(digits: str) -> int:
    """Return the number that ``digits`` stand for.

    Numbers of 40 digits or more become one that is too large: Python refuses to read very long
    ones.
    """
    return int(digits) if len(digits) < 40 else LARGEST_SEED + 1


def picked(table: Table, only: Sequence[str]) -> list[tuple[str, str]]:
    """Return (row, column) of the trained entries that ``only`` names; all if it is empty.

    See ``compose.cells``.
    """
    rows: set[str] = set()
    columns: set[str] = set()
    for text in only:
        kind, name = entry_named(text, table.rows)
        names = table.rows if kind == "row" else table.columns
        if name not in names:
            raise UserError(f"table {table.name} has no {kind} {name!r}: {nearest(name, names)}")
        (rows if kind == "row" else columns).add(name)

    # An entry is picked if its row is among the rows and its column among the columns that are
    # named. If no row, or no column, is named, all are meant.
    entries = [
        (r, c)
        for r, c in table.trained()
        if (not rows or r in rows) and (not columns or c in columns)
    ]
    if not entries:
        chosen = ", ".join(only) or "its rows"
        raise UserError(
            f"table {table.name}: nothing is trained for {chosen}; see: vaebench "
            f"show table={table.name}"
        )
    return entries
