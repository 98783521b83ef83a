"""Add new settings and options to tests/identity_defaults.json.

It holds every default that names of runs rest on.

python scripts/record_defaults.py

What is recorded is never changed, because a default that differs from its record would rename runs
that exist. The script also records which settings of all tables can be built, anew each time: see
vaebench/running/accepted.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vaebench.config import catalogue, compose
from vaebench.config.cells import IDENTITY, Cell, settings_of
from vaebench.config.tables import Table
from vaebench.files import write_atomic
from vaebench.running import accepted, tasks
from vaebench.settings import defaults

RECORD = Path(__file__).resolve().parent.parent / "tests" / "identity_defaults.json"


def shipped() -> dict[str, dict[str, Any]]:
    """Map each GROUP/OPTION, and ``train``, to its settings with their defaults."""
    groups = [section for section in IDENTITY if section != "train"]
    names = [(group, name) for group in groups for name in catalogue.options(group)]
    settings_by_option = {
        f"{group}/{name}": settings_of(defaults.of_option(group, name)) for group, name in names
    }
    return {**settings_by_option, "train": settings_of(defaults.of_section("train"))}


def main() -> None:
    """Write the record: options in order, the settings of each on a line."""
    # A recorded default goes before the present one, and recorded options stay even if they are
    # gone.
    recorded = json.loads(RECORD.read_text())
    all_options = {
        name: {**settings, **recorded.get(name, {})} for name, settings in shipped().items()
    }
    all_options = {**recorded, **all_options}
    lines = [f" {json.dumps(name)}: {json.dumps(all_options[name])}" for name in all_options]
    write_atomic(RECORD, "{\n" + ",\n".join(lines) + "\n}\n")

    cells = every_cell()
    tasks.check_built(cells)
    write_atomic(
        accepted.RECORD, "\n".join(sorted({accepted.digest(cell) for cell in cells})) + "\n"
    )


def every_cell() -> list[Cell]:
    """Return the cells of all tables, at all presets that these have."""
    tables = [
        table
        for table in map(catalogue.load, catalogue.options("table"))
        if isinstance(table, Table)
    ]
    return [
        cell
        for table in tables
        for name in catalogue.presets_of(table)
        for cell in compose.cells(table, catalogue.load_preset(name))
    ]


if __name__ == "__main__":
    main()
