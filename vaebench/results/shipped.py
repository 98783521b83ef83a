"""The results that vaebench ships.

They are those of its own runs (reference), and those that the papers print (published). In a
checkout they are in results/; a wheel has the CSVs inside the package.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vaebench.config import catalogue
from vaebench.config.tables import Table
from vaebench.errors import UserError, nearest
from vaebench.files import carried

WORD = "reference"
"""What a user writes for the shipped results, instead of the name of a file."""


def folder(name: str = "reference") -> Path | None:
    """Return the folder of the shipped CSVs, ``reference`` or ``published``.

    None if this installation lacks it.
    """
    return carried(f"results/{name}")


def files(tables: Collection[str], presets: Collection[str] | None = None) -> list[Path]:
    """Return the results CSVs of some tables at some presets.

    They are ``TABLE-PRESET.csv``, and those of other tables whose entries these tables show.

    Args:
        tables: Names of tables.
        presets: Names of presets; None for all.

    Raises:
        UserError: If nothing is shipped for these tables, or not at these presets.
    """
    results = folder()
    if results is None:
        raise UserError(
            f"{WORD}: this installation lacks the reference results; install vaebench again"
        )

    tables_shown = dict.fromkeys(name for table in tables for name in behind(table))
    presets_of = {name: recorded_presets(name, results) for name in tables_shown}
    if not any(presets_of.values()):
        allowed = [name for name in catalogue.options("table") if recorded_presets(name, results)]
        raise UserError(f"{WORD}: no results of {', '.join(tables)}; allowed: {', '.join(allowed)}")

    chosen = [(t, p) for t in presets_of for p in presets_of[t] if presets is None or p in presets]
    if not chosen:
        recorded = sorted({preset for several in presets_of.values() for preset in several})
        asked_presets = ", ".join(sorted(presets or ()))
        raise UserError(
            f"{WORD}: no results of {', '.join(tables)} with preset={asked_presets}: "
            f"{nearest(asked_presets, recorded)}"
        )
    return [results / f"{table}-{preset}.csv" for table, preset in chosen]


def behind(table: str) -> list[str]:
    """Return the tables whose results a table shows.

    They are itself, then the tables that train its rows.
    """
    exhibit = catalogue.load(table) if table in catalogue.options("table") else None
    links = exhibit.links.values() if isinstance(exhibit, Table) else ()
    return list(dict.fromkeys([table, *(entry.table for entry in links)]))


def has_results(table: str) -> bool:
    """Whether results of a table, or of entries of others that it shows, are shipped."""
    place = folder()
    return place is not None and any(recorded_presets(name, place) for name in behind(table))


def recorded_presets(table: str, place: Path) -> list[str]:
    """Return the presets at which ``place`` has a results CSV of a table."""
    return [
        preset
        for preset in catalogue.options("preset")
        if (place / f"{table}-{preset}.csv").is_file()
    ]
