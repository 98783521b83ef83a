"""Run directories and their results: ``<root>/<key>/seed-<n>/``.

Their ``result.json`` is the authority; ``run_files`` names the files beside it. Listing runs
imports neither pandas nor torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.cells import Cell, run_key
from vaebench.errors import UserError, nearest
from vaebench.files import jsonable, parse_json
from vaebench.results import long_frame, result_file, run_files
from vaebench.results.lock import Held, hold
from vaebench.results.status import Status
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.defaults import folder_of_runs

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""Results by key and seed."""


class Store:
    """All runs below one folder, which need not exist yet.

    Raises UserError if a file is in its place.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = folder_of_runs(Path(root))

    def run_dir(self, key: str, seed: int) -> Path:
        """Return the folder of the run of a cell (``Cell.key``) at a seed. Nothing is created."""
        return self.root / key / f"seed-{seed}"

    def write_result(self, key: str, seed: int, result: dict[str, Any]) -> Path:
        """Write result.json atomically; NaN and infinities become null.

        If an OSError (full disk) is raised, the old file is intact. A damaged old file is kept
        under another name. Raises UserError if the old file cannot be read.
        """
        path = self.run_dir(key, seed) / run_files.RESULT
        result_file.write(path, json.dumps(jsonable(result), indent=1, allow_nan=False) + "\n")
        return path

    def read_result(self, key: str, seed: int) -> dict[str, Any] | None:
        """Return the stored result.

        None if there is none or, with a warning in the log, if it is damaged. Raises UserError if
        the file exists but cannot be read.
        """
        return result_file.read(self.run_dir(key, seed) / run_files.RESULT)

    def lock(self, key: str, seed: int) -> AbstractContextManager[Held]:
        """Hold a run for this process; see ``results.lock.hold``.

        Raises Busy at once if another process holds it.
        """
        return hold(self.run_dir(key, seed))

    def seeds(self, cells: Iterable[Cell]) -> list[int]:
        """Return all seeds at which one of these cells has a run directory, ascending."""
        folders = {self.run_dir(cell.key, 0).parent for cell in cells}
        return sorted({seed for folder in folders for seed in seeds_in(folder)})

    def result(self, key: str, seed: int) -> Mapping[str, Any] | None:
        """Return the stored result, or None.

        For a run that has begun and has no result yet, one with the status ``partial`` is made.
        Raises UserError as ``read_result`` does.
        """
        result = self.read_result(key, seed)

        # A run has begun when it has its first checkpoint.
        if result is not None or not (self.run_dir(key, seed) / run_files.CHECKPOINT).is_file():
            return result

        return {"schema": 1, "status": str(Status.PARTIAL), "reason": "", "measures": []}

    def frame(
        self, cells: list[Cell], seeds: list[int], known: Results | None = None
    ) -> pd.DataFrame:
        """Return the long format of these cells at these seeds.

        There is one row for each (cell, seed, metric). A run without measures (failed, diverged,
        partial) is a row with an empty metric; a run that never began has no row.

        ``published`` and ``paper_signature`` are in the rows of the cell's ``measure``; if a run
        has no such row yet, ``paper_signature`` is in its first row. A measure of an evaluation
        that the cell does not ask for has ``"current": false`` in ``extra``. It is left out if
        another of the cells has the same run and asks for just that measure. Times only have rows
        in the cells that show them, and those cells have no other rows.

        Args:
            cells: The cells.
            seeds: The seeds.
            known: Results that have been read already, by key and seed.
        """
        # Cells with the same training share their runs. Which of them shows a measure is decided
        # with all of them in view.
        cells_by_key: dict[str, list[Cell]] = {}
        for cell in cells:
            cells_by_key.setdefault(cell.key, []).append(cell)

        rows: list[dict[str, Any]] = []
        already_read = known or {}
        for cell in cells:
            for seed in seeds:
                result = already_read.get((cell.key, seed)) or self.result(cell.key, seed)
                if result is not None:
                    rows += long_frame.rows_of(cell, seed, result, cells_by_key[cell.key])

        return long_frame.typed(rows)


def seed_of(folder: Path) -> int | None:
    """Return the seed of a run's folder ``seed-<n>``.

    None if its name is another, or the number cannot be a seed.
    """
    word, _, digits = folder.resolve().name.partition("-")

    # isdecimal() alone takes digits of other scripts. The length is checked first, because Python
    # refuses to read a number of thousands of digits.
    if (
        word != "seed"
        or not (digits.isascii() and digits.isdecimal())
        or len(digits) > len(str(LARGEST_SEED))
    ):
        return None

    # Only the one way in which this program writes a seed: seed-1, not seed-01.
    seed = int(digits)
    return seed if seed <= LARGEST_SEED and str(seed) == digits else None


class NoNote(UserError):
    """A folder that has no ``config.json``, so it is not a run's."""


def find(root: Path, name: str) -> list[Path]:
    """Return the seed folders that ``name`` means: a path, or a run's name below ``root``.

    Raises UserError if there are none.
    """
    # Either is the folder of one seed, or that of a key with the folders of its seeds in it.
    for place in (Path(name), root / name):
        if (place / run_files.NOTE).is_file():
            return [place]
        seeds = [
            seed for seed in seeds_in(place) if (place / f"seed-{seed}" / run_files.NOTE).is_file()
        ]
        if seeds:
            return [place / f"seed-{seed}" for seed in seeds]

    names = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    raise UserError(f"no run {name!r} here or in {root}: {nearest(name, names)}")


def seeds_in(folder: Path) -> list[int]:
    """Return the seeds with a run below ``folder``, ascending."""
    candidates = (seed_of(path) for path in folder.glob("seed-*"))
    return sorted(seed for seed in candidates if seed is not None)


def read_note(folder: Path) -> tuple[dict[str, Any], int]:
    """Return the content of ``config.json`` in a run's folder, and the run's seed.

    The content is config, row, column, data_hash and more. Raises UserError if the folder is not a
    run's, or if the file is damaged or cannot be read.
    """
    path = folder / run_files.NOTE
    seed = seed_of(folder)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        content = None
    except OSError as e:
        raise UserError(f"{path}: cannot be read: {e.strerror or e}") from None

    if seed is None or content is None:
        raise NoNote(
            f"{folder}: not a run of vaebench; expected a folder seed-N with {run_files.NOTE}"
        )

    try:
        note = parse_json(content)
    except ValueError:
        note = None
    if not _is_note(note):
        raise UserError(
            f"{path}: damaged, so what was trained is unknown; put back a copy of it, or remove "
            "the folder and train again"
        )
    return note, seed


def _is_note(note: Any) -> bool:
    """Whether this may be the content of ``config.json``.

    It must have the required texts, and a configuration with the required parts.
    """
    if not isinstance(note, dict) or not all(
        isinstance(note.get(k), str) for k in ("row", "column", "data_hash")
    ):
        return False

    config: Any = note.get("config")
    if not result_file.is_config(config) or not isinstance(config.get("run"), dict):
        return False
    if not isinstance(config["train"].get("select"), str):
        return False

    # The key is computed from the values of many settings, so it fails if one has a wrong form.
    try:
        run_key(config)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False
    return True
