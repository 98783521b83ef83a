"""The results that a site shows: of the runs of a folder, or of results files."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.config.cells import Cell, Table
from vaebench.config.compose import cells
from vaebench.errors import UserError
from vaebench.report import plots, recorded
from vaebench.results import shipped
from vaebench.results.store import COLUMNS, Store, read_note, seed_of

if TYPE_CHECKING:
    import pandas as pd

CURVES = "bound"
"""The plot whose points are the curves of a page."""

Run = tuple[str, int]
"""Key and seed."""


@dataclass(frozen=True)
class Results:
    """What there is of one table.

    Attributes:
        table: The table.
        frame: The results of all presets, in the long format.
        curves: Preset -> curves of its runs: row, column, seed, update, valid_bound and more.
        cells: Key -> the cell of that name, at the preset by which it was run.
        folders: The folders of the runs, if they are here.
    """

    table: Table
    frame: pd.DataFrame
    curves: dict[str, pd.DataFrame] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    folders: dict[Run, Path] = field(default_factory=dict)


def presets_in(root: Path) -> set[str]:
    """The presets by which the runs below ``root`` were made; what cannot be read is passed over."""
    found = set()
    for path in root.glob("*/seed-*/config.json"):
        with contextlib.suppress(UserError):
            found.add(str(read_note(path.parent)[0].get("preset")))
    return found


def left_out(root: Path, results: Sequence[Results]) -> int:
    """How many runs below ``root`` none of the results has: of changed settings, or of tables that are not shown."""
    shown = {run for result in results for run in result.folders}
    there = root.glob("*/seed-*/config.json")
    return sum((path.parent.parent.name, seed_of(path.parent)) not in shown for path in there)


def of_store(table: Table, root: Path, presets: Collection[str]) -> Results:
    """The results of the runs below ``root`` that belong to a table at one of ``presets``."""
    import pandas as pd

    store = Store(root)
    out = Results(table, _empty())
    frames = []
    for preset in (name for name in catalogue.presets_of(table) if name in presets):
        some = cells(table, catalogue.load_preset(preset), [f"run.results={root}"])
        seeds = store.seeds(some)
        frame = store.frame(some, seeds)
        if not len(frame):
            continue
        frames.append(frame)
        out.curves[preset] = plots.plot(CURVES).collect(store, some, seeds)
        out.cells.update({cell.key: cell for cell in some})
        for key, seed in _runs(frame):
            out.folders[key, seed] = store.run_dir(key, seed)
    whole = pd.concat(frames, ignore_index=True) if frames else out.frame
    return Results(table, whole, out.curves, out.cells, out.folders)


def of_files(table: Table, sources: Sequence[str]) -> Results:
    """The results of a table in files; the word ``reference`` stands for the shipped ones.

    Raises UserError for a file that cannot be read. A file without the table is passed over.
    """
    place = shipped.folder()
    known = place is not None and any(shipped.recorded_presets(name, place) for name in shipped.behind(table.name))
    wanted = [source for source in sources if source != shipped.WORD or known]
    files = recorded.read_files(wanted, [table.name])
    frame = recorded.under_own_names(files.frame if wanted else _empty(), table).reset_index(drop=True)

    out = Results(table, frame)
    for preset in dict.fromkeys(frame["preset"]):
        chosen = frame[frame["preset"] == preset].reset_index(drop=True)
        out.cells.update(_cells(table, str(preset)))
        try:
            out.curves[str(preset)] = files.points(CURVES, chosen, table)
        except UserError:  # nothing was recorded beside these results
            continue
    return out


def _cells(table: Table, preset: str) -> dict[str, Cell]:
    """The cells of a preset by their keys; none of a preset that is gone."""
    if preset not in catalogue.presets_of(table):
        return {}
    return {cell.key: cell for cell in cells(table, catalogue.load_preset(preset))}


def _runs(frame: pd.DataFrame) -> list[Run]:
    pairs = frame[["key", "seed"]].drop_duplicates()
    return [(str(key), int(seed)) for key, seed in pairs.itertuples(index=False, name=None)]


def _empty() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns=list(COLUMNS))
