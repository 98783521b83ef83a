"""Run directories and their results: ``<root>/<key>/seed-<n>/``, with ``result.json`` as the truth and CSV as a view.

Beside ``result.json`` lie ``checkpoint.safetensors``, ``best.safetensors`` and ``curve.csv``, of some runs
``snapshots/`` and ``means.csv``. Listing runs imports neither pandas nor torch.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.cells import Cell, run_key
from vaebench.errors import UserError, nearest
from vaebench.files import parse_json, write_output
from vaebench.formatting import shortened
from vaebench.protocol.registry import is_timing
from vaebench.protocol.signature import of_other_data, samples_of, signature, signature_parts
from vaebench.results import flags, result_file, run_files
from vaebench.results.lock import Held, hold
from vaebench.results.stats import Measure
from vaebench.rng.seeds import LARGEST_SEED

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TEXT = "str"
FLAG = "bool"
NUMBER = "float64"
WHOLE = "Int64"
SEED = "int64"
"""Column types of the long frame: WHOLE may be missing, a NUMBER is NaN when missing, a TEXT is empty."""

COLUMNS = {
    **dict.fromkeys(("table", "row", "column", "preset", "label"), TEXT),
    "seed": SEED,
    **dict.fromkeys(("status", "metric"), TEXT),
    "value": NUMBER,
    "unit": TEXT,
    "error": NUMBER,
    "error_kind": TEXT,
    **dict.fromkeys(("points", "samples"), WHOLE),
    "signature": TEXT,
    "published": NUMBER,
    "paper_protocol": FLAG,
    **dict.fromkeys(("updates", "best_update"), WHOLE),
    **dict.fromkeys(("seconds", "eval_seconds"), NUMBER),
    "pack": WHOLE,
    "device": TEXT,
    "peak_memory_mb": NUMBER,
    **dict.fromkeys(("data_hash", "vaebench", "torch", "python", "commit", "key", "reason", "extra"), TEXT),
    "flags": TEXT,
    "paper_signature": TEXT,
    "clock": TEXT,
}
"""The long format, one row per (cell, seed, metric): column name -> type, in the order of the CSV."""

LATER = ("flags", "paper_signature", "clock")
"""Columns that CSV files of earlier versions lack: they are read as empty."""

BOUNDS = ("train_bound", "valid_bound")
"""Columns of curves that are bounds: positive nats, lower is better. Version 1 kept them with the opposite sign."""

UNIT = "nats"
"""What stands in the column ``unit`` of ``curve.csv``; version 1 has no such column."""


Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""Results by key and seed."""


class Store:
    """All runs under one folder, which need not exist yet."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def run_dir(self, key: str, seed: int) -> Path:
        """Where the run of a cell (``Cell.key``) at a seed lives. Creates nothing."""
        return self.root / key / f"seed-{seed}"

    def write_result(self, key: str, seed: int, result: dict[str, Any]) -> Path:
        """result.json, atomically: NaN and infinities become null. OSError (full disk) leaves the old file intact.

        A damaged one that is there is kept under another name. Raises UserError where it cannot be read.
        """
        path = self.run_dir(key, seed) / run_files.RESULT
        result_file.write(path, json.dumps(_jsonable(result), indent=1, allow_nan=False) + "\n")
        return path

    def read_result(self, key: str, seed: int) -> dict[str, Any] | None:
        """The stored result; None where there is none or, with a warning in the log, where it is damaged.

        Raises UserError where there is one that cannot be read.
        """
        return result_file.read(self.run_dir(key, seed) / run_files.RESULT)

    def lock(self, key: str, seed: int) -> AbstractContextManager[Held]:
        """Hold a run for this process, see ``results.lock.hold``; raises Busy at once if another holds it."""
        return hold(self.run_dir(key, seed))

    def runs(self, known: Results | None = None) -> Iterator[dict[str, Any]]:
        """Every result, sorted by key and seed; a folder with a checkpoint and no result has status ``partial``.

        One that cannot be read is left out with a warning.

        Args:
            known: Results that have been read already, by key and seed.
        """
        read = known or {}
        for folder in sorted(p for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []:
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
        """The stored result, that of a run which has begun and has none, or None. Raises UserError as the former."""
        result = self.read_result(key, seed)
        if result is not None or not (self.run_dir(key, seed) / run_files.CHECKPOINT).is_file():
            return result
        return {"schema": 1, "status": "partial", "reason": "", "measures": []}

    def frame(self, cells: list[Cell], seeds: list[int], known: Results | None = None) -> pd.DataFrame:
        """The long format (COLUMNS) of these cells at these seeds; ``known``: results that have been read already.

        One row per (cell, seed, metric); a run without measures (failed, diverged, partial) is a row
        with an empty metric; a run that never began has none. ``published`` and ``paper_signature`` stand in the
        rows of the cell's ``measure``; if a run has none of these yet, the latter stands in its first row. A measure
        taken under another evaluation than the cell asks for has ``"current": false`` in ``extra``; it is left out
        where another of the cells shares the run and asks for just that one. Times have rows in the cells that show
        them, and those cells no other rows.
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
                    rows += _rows(cell, seed, result, sharing[cell.key])
        return _typed(rows)


def _rows(cell: Cell, seed: int, result: Mapping[str, Any], sharing: list[Cell]) -> list[dict[str, Any]]:
    """One result as rows of the long format; ``sharing`` are the cells that show this run, ``cell`` among them."""
    versions = result.get("versions") or {}
    data = result.get("data") or {}
    run = {
        **{name: getattr(cell, name) for name in ("table", "row", "column", "preset", "label", "published")},
        **{name: result.get(name) for name in ("updates", "best_update", "seconds", "eval_seconds", "pack", "device")},
        **{name: versions.get(name) for name in ("vaebench", "torch", "python", "commit")},
        "seed": seed,
        "status": result.get("status"),
        "paper_protocol": cell.paper_protocol,
        "paper_signature": cell.paper_signature,
        "peak_memory_mb": result.get("peak_memory_mb"),
        "clock": result.get("clock"),
        "data_hash": data.get("hash"),
        "key": cell.key,
        "reason": " ".join(str(result.get("reason") or "").split()),
    }
    of_run = flags.of_run(result)
    run["flags"] = flags.join(of_run)
    rows: list[dict[str, Any]] = []
    any_printed = False
    for content in result.get("measures") or []:
        try:
            m = Measure.from_dict(content)
        except ValueError as e:
            log.warning("%s seed %d: a measure is left out: %s", cell.key, seed, e)
            continue
        current = is_current(cell, m)
        elsewhere = not current and any(is_current(other, m) for other in sharing)
        timing = is_timing(m.name) or is_timing(cell.measure)  # a time stands in its own column alone
        if elsewhere or (timing and m.name != cell.measure):
            continue
        extra = m.extra if current else {**m.extra, "current": False}
        numbers = {k: getattr(m, k) for k in ("value", "unit", "error", "error_kind", "points", "samples", "signature")}
        text = json.dumps(_jsonable(extra), sort_keys=True) if extra else ""
        printed = m.name == cell.measure and not of_other_data(m.signature)
        any_printed = any_printed or printed
        of_measure = {} if printed else {"published": None, "paper_signature": ""}
        marks = flags.join((*of_run, *m.flags))
        rows.append({**run, **numbers, **of_measure, "metric": m.name, "extra": text, "flags": marks})
    if rows and not any_printed:
        rows[0]["paper_signature"] = cell.paper_signature
    return rows or [run]


def is_current(cell: Cell, measure: Measure) -> bool:
    """Whether a measure was taken the way the cell's configuration asks for now (data, split, points, samples)."""
    wanted = signature_parts(signature(cell.config, measure.name, samples_of(cell.config, measure.name)))
    found = signature_parts(measure.signature)
    found["data"] = found.get("data", "").split("@")[0]  # a configuration does not know the hash of the data
    # Signatures did not always say it. All measures of a run have the batch of its training.
    found.setdefault("svi_batch", wanted.get("svi_batch", ""))
    if found.get("precision") != wanted.get("precision"):  # of which float32 goes without saying
        return False
    if of_other_data(measure.signature):
        return False
    return all(found.get(k) == v for k, v in wanted.items())


# ---------------------------------------------------------------------------------------------- CSV and files


def write_csv(frame: pd.DataFrame, path: Path | str) -> None:
    """The long frame as CSV, atomically; UserError where the file cannot be written."""
    write_output(Path(path), csv_text(frame))


def seed_of(folder: Path) -> int | None:
    """The seed of a run's folder ``seed-<n>``; None where the name is another, or the number no seed's."""
    word, _, digits = folder.resolve().name.partition("-")
    if word != "seed" or not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(LARGEST_SEED)):
        return None
    seed = int(digits)
    return seed if seed <= LARGEST_SEED and str(seed) == digits else None


def find(root: Path, name: str) -> list[Path]:
    """The seed folders that ``name`` means: a path, or a run's name below ``root``; UserError when there are none."""
    for place in (Path(name), root / name):
        if (place / run_files.NOTE).is_file():
            return [place]
        seeds = [seed for seed in seeds_in(place) if (place / f"seed-{seed}" / run_files.NOTE).is_file()]
        if seeds:
            return [place / f"seed-{seed}" for seed in seeds]
    known = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    raise UserError(f"no run {name!r} here or in {root}: {nearest(name, known)}")


def seeds_in(folder: Path) -> list[int]:
    """The seeds of which there is a run below ``folder``, ascending."""
    found = (seed_of(path) for path in folder.glob("seed-*"))
    return sorted(seed for seed in found if seed is not None)


def read_note(folder: Path) -> tuple[dict[str, Any], int]:
    """What ``config.json`` in a run's folder says of the run (config, row, column, data_hash), and its seed.

    Raises UserError where the folder is not a run's, or the file is damaged or cannot be read.
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
    """Whether this is what ``config.json`` holds: texts, and a configuration whose parts can be told apart."""
    if not isinstance(note, dict) or not all(isinstance(note.get(k), str) for k in ("row", "column", "data_hash")):
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


def csv_text(frame: pd.DataFrame) -> str:
    """The long frame as CSV text; ``read_csv`` gives back an equal frame."""
    return frame[list(COLUMNS)].to_csv(index=False, lineterminator="\n")


def lacking(header: Iterable[str]) -> list[str]:
    """Columns without which a CSV is no results CSV, of this version or an earlier one, and that ``header`` lacks."""
    given = set(header)
    return [name for name in COLUMNS if name not in given and name not in LATER]


def read_csv(path: Path | str) -> pd.DataFrame:
    """A long frame from ``write_csv``. Raises UserError if the file is missing or is not such a CSV."""
    import csv

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a results CSV as written by `vaebench report`")
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:  # spreadsheets begin it with a byte-order mark
            header, *lines = list(csv.reader(f)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: not a results CSV: {e}") from None
    missing = lacking(header)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(f"{path}: not a results CSV: missing columns {', '.join(missing[:3])}{more}")
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise UserError(f"{path}: record {number} has {len(line)} fields, expected {len(header)}")
        rows.append(_parsed(dict(zip(header, line, strict=True)), f"{path}: record {number}"))
    return _typed(rows)


def _parsed(record: dict[str, str], where: str) -> dict[str, Any]:
    """One CSV record with its types; float() of a printed float is exact, unlike pandas' fast parser."""
    convert: dict[str, Callable[[str], Any]] = {
        TEXT: str,
        NUMBER: float,
        WHOLE: _int64,
        SEED: _int64,
        FLAG: {"True": True, "False": False}.__getitem__,
    }
    row: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        text = record.get(name, "")
        try:
            row[name] = None if text == "" and kind in (NUMBER, WHOLE) else convert[kind](text)
        except (ValueError, KeyError):
            raise UserError(f"{where}: column {name}: {shortened(text)!r} is not a {kind}") from None
    if row["extra"] and not _is_object(row["extra"]):
        raise UserError(f"{where}: column extra: {shortened(row['extra'])!r} is not a JSON object")
    try:
        flags.split(row["flags"])
    except ValueError:
        raise UserError(f"{where}: column flags: {shortened(row['flags'])!r} is not a JSON list of texts") from None
    return row


def _int64(text: str) -> int:
    if not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"{text} does not fit a column of whole numbers")
    return value


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except ValueError:
        return False


def _typed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with exactly COLUMNS and their types, empty or not; flags that follow from a row are added."""
    import pandas as pd

    rows = [{**row, "flags": flags.of_row(row)} for row in rows]

    def column(name: str, kind: str) -> pd.Series:
        values = [row.get(name) for row in rows]
        if kind == TEXT:
            values = ["" if v is None else str(v) for v in values]
        elif kind == NUMBER:
            values = [math.nan if v is None else float(v) for v in values]
        return pd.Series(values, dtype=kind)

    return pd.DataFrame({name: column(name, kind) for name, kind in COLUMNS.items()})


def _jsonable(value: Any) -> Any:
    """Plain JSON values: NaN and infinities become None, tuples lists, and NumPy or torch scalars numbers."""
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    return value
