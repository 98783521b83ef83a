"""The results that a site shows: those of the runs in a folder, or of results files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vaebench.config import catalogue
from vaebench.config.cells import Cell
from vaebench.config.compose import cells
from vaebench.config.tables import Table
from vaebench.errors import UserError
from vaebench.report import recorded
from vaebench.report.plots import curve_files
from vaebench.report.plots.base import runs_of
from vaebench.results import index, long_frame, run_files, shipped
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

CURVES = "bound"
"""The plot whose points are the curves of a page."""

MOST = 400
"""Most points of a curve that are drawn. If there are more, it is every second one, every third
one and so on, and the last."""

Run = tuple[str, int]
"""Key and seed of a run."""


class Curve(NamedTuple):
    """The validations of a run, at most MOST of them: update and bound in nats, all finite.

    Cells of a row that share a run have one curve, under the column of the first of them.
    """

    row: str
    column: str
    seed: int
    points: list[tuple[int, float]]


Curves = dict[str, list[Curve]]
"""The curves by preset."""


@dataclass(frozen=True)
class Results:
    """The results of one table.

    Attributes:
        table: The table.
        frame: The results of all presets, in the long format.
        curves: Reads the curves of the runs. It is a function because those of all tables together
            may be too many for the memory.
        cells: Key -> the cell of that name, at the preset by which it was run.
        folders: The folders of the runs, if they are on this machine.
    """

    table: Table
    frame: pd.DataFrame
    curves: Callable[[], Curves] = dict
    cells: dict[str, Cell] = field(default_factory=dict)
    folders: dict[Run, Path] = field(default_factory=dict)

    def runs(self) -> list[Run]:
        """All runs, in the order of the frame."""
        return _runs(self.frame)


def thinned(points: Sequence[tuple[int, float]], most: int = MOST) -> list[tuple[int, float]]:
    """Return at most ``most`` of the points, evenly spaced, and the last one."""
    step = max(1, math.ceil(len(points) / most))
    kept = list(points[::step])

    # The last point says where a run stands. With ``most`` points it replaces the one before.
    if points and kept[-1] is not points[-1]:
        kept[-1:] = [points[-1]] if len(kept) >= most else [kept[-1], points[-1]]
    return kept


def _curve(row: str, column: str, seed: int, points: Iterable[tuple[int, float]]) -> Curve:
    finite = [
        (int(update), bound)
        for update, bound in points
        if math.isfinite(update) and math.isfinite(bound)
    ]
    return Curve(row, column, seed, thinned(finite))


# --------------------------------------------------------------------------------- runs of a folder


def presets_in(root: Path) -> set[str]:
    """Return the presets by which the runs below ``root`` were made.

    Runs that cannot be read are skipped.
    """
    with index.opened(Store(root)) as run_index:
        return run_index.presets()


def left_out(root: Path, results: Sequence[Results]) -> int:
    """Return how many runs below ``root`` are in none of the results.

    Such runs have changed settings, or belong to tables that are not shown.
    """
    shown_runs = {run for result in results for run in result.folders}
    with index.opened(Store(root)) as run_index:
        return sum(run not in shown_runs for run in run_index.runs())


def of_store(table: Table, root: Path, presets: Collection[str]) -> Results:
    """Return the results of the runs below ``root`` that belong to a table at these presets."""
    import pandas as pd

    store = Store(root)
    frames = []
    by_key: dict[str, Cell] = {}
    cells_and_seeds: dict[str, tuple[list[Cell], list[int]]] = {}

    for preset in (name for name in catalogue.presets_of(table) if name in presets):
        cells_of_preset = cells(table, catalogue.load_preset(preset), [f"run.results={root}"])
        seeds = store.seeds(cells_of_preset)
        frame = store.frame(cells_of_preset, seeds)
        if len(frame):
            frames.append(frame)
            cells_and_seeds[preset] = cells_of_preset, seeds
            by_key |= {cell.key: cell for cell in cells_of_preset}

    whole = pd.concat(frames, ignore_index=True) if frames else long_frame.empty()
    folders = {run: store.run_dir(*run) for run in _runs(whole)}

    # Curves are read when a page is written, and then only those of one table at a time.
    return Results(
        table,
        whole,
        lambda: {p: list(_of_runs(store, *chosen)) for p, chosen in cells_and_seeds.items()},
        by_key,
        folders,
    )


def _of_runs(store: Store, cells: list[Cell], seeds: list[int]) -> Iterator[Curve]:
    """Yield the curves of some cells' runs; a damaged one is left out, with a warning."""
    for cell, seed in runs_of(store, cells, seeds):
        try:
            points = curve_files.bounds(store.run_dir(cell.key, seed) / run_files.CURVE)
        except UserError as e:
            log.warning("left out: %s", e)
            continue
        if points:
            yield _curve(cell.row, cell.column, seed, points)


# --------------------------------------------------------------------------------- results of files


def of_files(table: Table, sources: Sequence[str]) -> Results:
    """Return the results of a table in files; the word ``reference`` stands for the shipped ones.

    Raises UserError if a file cannot be read. A file without the table is skipped.
    """
    is_shipped = shipped.has_results(table.name)
    wanted_sources = [source for source in sources if source != shipped.WORD or is_shipped]

    files = recorded.read_files(wanted_sources, [table.name])
    frame = recorded.under_own_names(
        files.frame if wanted_sources else long_frame.empty(),
        table,
    ).reset_index(drop=True)

    # In the order of the files. A preset that no longer exists has results, but no cells.
    presets = [str(preset) for preset in dict.fromkeys(frame["preset"])]
    by_key = {key: cell for preset in presets for key, cell in _cells(table, preset).items()}

    return Results(
        table, frame, lambda: {p: list(_recorded(files, table, frame, p)) for p in presets}, by_key
    )


def _recorded(
    files: recorded.Files, table: Table, frame: pd.DataFrame, preset: str
) -> Iterator[Curve]:
    """Yield the curves that were recorded beside the results of a preset."""
    chosen = frame[frame["preset"] == preset].reset_index(drop=True)
    try:
        points = files.points(CURVES, chosen, table)
    except UserError:  # nothing was recorded
        return

    for (row, column, seed), run in points.groupby(["row", "column", "seed"], sort=False):
        yield _curve(row, column, int(seed), zip(run["update"], run["valid_bound"], strict=True))


def _cells(table: Table, preset: str) -> dict[str, Cell]:
    """Return the cells of a preset by their keys; none if the preset no longer exists."""
    if preset not in catalogue.presets_of(table):
        return {}
    return {cell.key: cell for cell in cells(table, catalogue.load_preset(preset))}


def _runs(frame: pd.DataFrame) -> list[Run]:
    pairs = frame[["key", "seed"]].drop_duplicates()
    return [(str(key), int(seed)) for key, seed in pairs.itertuples(index=False, name=None)]
