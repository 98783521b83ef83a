"""The settings of shipped runs, composed again.

A results CSV only has the names of their tables and presets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vaebench.config import catalogue
from vaebench.config.cells import Cell, readable, run_key, versions
from vaebench.config.compose import cells
from vaebench.config.tables import Table
from vaebench.errors import UserError
from vaebench.results.digest import cost


def with_settings(records: Iterable[dict[str, Any]], asked: Iterable[Cell]) -> list[dict[str, Any]]:
    """Add settings to the records that can tell what the cells ``asked`` cost.

    The settings give the sizes and the budget of a run. A run counts as made by a cell of its table
    and preset if it has the cell's key, by any version of the cell's options. Other runs (settings
    changed by hand, a table or a preset that no longer exists) are returned as they are.

    Args:
        records: Records of ``results.costs.reference_records``.
        asked: Cells whose cost is to be known; only runs with their data, models and
            objectives are completed.
    """
    wanted_names = {readable(cell.key) for cell in asked}
    configs_by_key: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    completed = []
    for record in records:
        if readable(record["key"]) not in wanted_names:
            completed.append(record)
            continue

        # Composing takes long, so each table and preset is composed once.
        table_and_preset = record["table"], record["preset"]
        if table_and_preset not in configs_by_key:
            configs_by_key[table_and_preset] = _made_by(*table_and_preset)
        config = configs_by_key[table_and_preset].get(record["key"])
        completed.append(cost({**record, "config": config}) if config else record)
    return completed


def _made_by(table: str, preset: str) -> dict[str, dict[str, Any]]:
    """Return the settings of every cell of a table at a preset, by their keys.

    {} if there is no such table or preset.
    """
    try:
        loaded = catalogue.load(table)
        if not isinstance(loaded, Table):
            return {}
        composed = cells(loaded, catalogue.load_preset(preset))
    except UserError:
        return {}

    # A shipped run has the key that its cell had when it was made. Every earlier version of the
    # settings leads to the cell as it is now.
    return {run_key(version): cell.config for cell in composed for version in versions(cell.config)}
