"""Run directories and their results: ``<root>/<key>/seed-<n>/``, with ``result.json`` as the truth.

Beside it lie the files that ``run_files`` names. Listing runs imports neither pandas nor torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.cells import Cell, run_key
from vaebench.errors import UserError, nearest
from vaebench.files import jsonable, parse_json
from vaebench.results import long_frame, result_file, run_files
from vaebench.results.lock import Held, hold
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.defaults import folder_of_runs

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""Results by key and seed."""


class Store:
    """All runs under one folder, which need not exist yet.

    UserError where a file is in its place.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = folder_of_runs(Path(root))

    def run_dir(self, key: str, seed: int) -> Path:
        """Where the run of a cell (``Cell.key``) at a seed lives. Creates nothing."""
        return self.root / key / f"seed-{seed}"

    def write_result(self, key: str, seed: int, result: dict[str, Any]) -> Path:
        """result.json, atomically: NaN and infinities become null.

        OSError (full disk) leaves the old file intact. A damaged one that is there is kept under
        another name. Raises UserError where it cannot be read.
        """
        path = self.run_dir(key, seed) / run_files.RESULT
        result_file.write(path, json.dumps(jsonable(result), indent=1, allow_nan=False) + "\n")
        return path

    def read_result(self, key: str, seed: int) -> dict[str, Any] | None:
        """The stored result.

        None where there is none or, with a warning in the log, where it is damaged. Raises
        UserError where there is one that cannot be read.
        """
        return result_file.read(self.run_dir(key, seed) / run_files.RESULT)

    def lock(self, key: str, seed: int) -> AbstractContextManager[Held]:
        """Hold a run for this process, see ``results.lock.hold``.

        Raises Busy at once if another holds it.
        """
        return hold(self.run_dir(key, seed))

    def runs(self, known: Results | None = None) -> Iterator[dict[str, Any]]:
        """Every result, sorted by key and seed.

        A folder with a checkpoint and no result has status ``partial``. One that cannot be read is
        left out with a warning.

        Args:
            known: Results that have been read already, by key and seed.
        """
        read = known or {}
        for folder in (
            sorted(p for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []
        ):
            for seed in seeds_in(folder):
                try:
                    result = read.get((folder.name, seed)) or self.result(folder.name, seed)
                except UserError as e:
                    log.warning("%s", e)
                    continue
                if result is not None:
                    yield {**result, "key": folder.name, "seed": seed}

    def seeds(self, cells: Iterable[Cell]) -> list[int]:
        """Every seed at which one of these cells has a run directory, ascending."""
        folders = {self.run_dir(cell.key, 0).parent for cell in cells}
        return sorted({seed for folder in folders for seed in seeds_in(folder)})

    def result(self, key: str, seed: int) -> Mapping[str, Any] | None:
        """The stored result, that of a run which has begun and has none, or None.

        Raises UserError as the former.
        """
        result = self.read_result(key, seed)
        if result is not None or not (self.run_dir(key, seed) / run_files.CHECKPOINT).is_file():
            return result
        return {"schema": 1, "status": "partial", "reason": "", "measures": []}

    def frame(
        self, cells: list[Cell], seeds: list[int], known: Results | None = None
    ) -> pd.DataFrame:
        """The long format of these cells at these seeds.

        ``known``: results that have been read already. One row per (cell, seed, metric); a run
        without measures (failed, diverged, partial) is a row with an empty metric; a run that never
        began has none. ``published`` and ``paper_signature`` stand in the rows of the cell's
        ``measure``; if a run has none of these yet, the latter stands in its first row. A measure
        taken under another evaluation than the cell asks for has ``"current": false`` in ``extra``;
        it is left out where another of the cells shares the run and asks for just that one. Times
        have rows in the cells that show them, and those cells no other rows.
        """
        sharing: dict[str, list[Cell]] = {}
        for cell in cells:
            sharing.setdefault(cell.key, []).append(cell)
        rows: list[dict[str, Any]] = []
        read = known or {}
        for cell in cells:
            for seed in seeds:
                result = read.get((cell.key, seed)) or self.result(cell.key, seed)
                if result is not None:
                    rows += long_frame.rows_of(cell, seed, result, sharing[cell.key])
        return long_frame.typed(rows)


def seed_of(folder: Path) -> int | None:
    """The seed of a run's folder ``seed-<n>``.

    None where the name is another, or the number no seed's.
    """
    word, _, digits = folder.resolve().name.partition("-")
    if (
        word != "seed"
        or not (digits.isascii() and digits.isdecimal())
        or len(digits) > len(str(LARGEST_SEED))
    ):
        return None
    seed = int(digits)
    return seed if seed <= LARGEST_SEED and str(seed) == digits else None


def find(root: Path, name: str) -> list[Path]:
    """The seed folders that ``name`` means: a path, or a run's name below ``root``.

    UserError when there are none.
    """
    for place in (Path(name), root / name):
        if (place / run_files.NOTE).is_file():
            return [place]
        seeds = [
            seed for seed in seeds_in(place) if (place / f"seed-{seed}" / run_files.NOTE).is_file()
        ]
        if seeds:
            return [place / f"seed-{seed}" for seed in seeds]
    known = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    raise UserError(f"no run {name!r} here or in {root}: {nearest(name, known)}")


def seeds_in(folder: Path) -> list[int]:
    """The seeds of which there is a run below ``folder``, ascending."""
    found = (seed_of(path) for path in folder.glob("seed-*"))
    return sorted(seed for seed in found if seed is not None)


def read_note(folder: Path) -> tuple[dict[str, Any], int]:
    """What ``config.json`` in a run's folder says of the run, and its seed.

    The former: config, row, column, data_hash. Raises UserError where the folder is not a run's, or
    the file is damaged or cannot be read.
    """
    path = folder / run_files.NOTE
    try:
        note = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        note = None
    except OSError as e:
        raise UserError(f"{path}: cannot be read: {e.strerror or e}") from None
    seed = seed_of(folder)
    if seed is None or note is None or not _is_note(note):
        raise UserError(f"{folder}: not a run of vaebench, or a damaged one")
    return note, seed


def _is_note(note: Any) -> bool:
    """Whether this is what ``config.json`` holds.

    Texts, and a configuration whose parts can be told apart.
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
    try:
        run_key(config)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False
    return True
