"""The long format: results as rows, one for each (cell, seed, metric), in memory and as CSV.

It is only a view of the ``result.json`` files. pandas is imported when it is needed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.files import jsonable, parse_json, write_output
from vaebench.formatting import shortened
from vaebench.protocol.registry import is_timing
from vaebench.results import flags
from vaebench.results.current import is_current
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TEXT = "str"
FLAG = "bool"
NUMBER = "float64"
WHOLE = "Int64"
SEED = "int64"
"""Column types of the long frame: a WHOLE may be missing, a NUMBER is NaN when missing, a TEXT is
empty."""

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
    **dict.fromkeys(
        ("data_hash", "vaebench", "torch", "python", "commit", "key", "reason", "extra"), TEXT
    ),
    "flags": TEXT,
    "paper_signature": TEXT,
    "clock": TEXT,
}
"""The columns of the long format: name -> type, in the order of the CSV."""

IN_WORDS = {
    NUMBER: "a number",
    WHOLE: "a whole number",
    SEED: "a whole number",
    FLAG: "True or False",
}
"""Column types of a CSV, as messages name them."""

FROM_ZERO = (
    *("seed", "error", "points", "samples", "updates", "best_update"),
    *("seconds", "eval_seconds", "pack", "peak_memory_mb"),
)
"""Columns whose numbers are never negative."""

LATER = ("flags", "paper_signature", "clock")
"""Columns that CSV files of earlier versions lack; they are read as empty."""


def rows_of(
    cell: Cell, seed: int, result: Mapping[str, Any], sharing: list[Cell]
) -> list[dict[str, Any]]:
    """Return one result as rows of the long format.

    ``sharing`` has the cells that show this run, ``cell`` among them.
    """
    versions = result.get("versions") or {}
    data = result.get("data") or {}

    # The columns that are the same in all rows of this run.
    run = {
        **{
            name: getattr(cell, name)
            for name in ("table", "row", "column", "preset", "label", "published")
        },
        **{
            name: result.get(name)
            for name in ("updates", "best_update", "seconds", "eval_seconds", "pack", "device")
        },
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

    # A run without measures has only its own flags; each measure adds its own behind them.
    of_run = flags.of_run(result)
    run["flags"] = flags.join(of_run)

    rows: list[dict[str, Any]] = []
    printed_shown = False
    for content in result.get("measures") or []:
        try:
            measure = Measure.from_dict(content)
        except ValueError as e:
            log.warning("%s seed %d: a measure is left out: %s", cell.key, seed, e)
            continue

        # A measure that only another cell of this run asks for belongs to that cell. A time is
        # only shown in cells whose own measure is that time.
        current = is_current(cell, measure)
        elsewhere = not current and any(is_current(other, measure) for other in sharing)
        timing = is_timing(measure.name) or is_timing(cell.measure)
        if elsewhere or (timing and measure.name != cell.measure):
            continue

        extra = measure.extra if current else {**measure.extra, "current": False}
        numbers = {
            name: getattr(measure, name)
            for name in ("value", "unit", "error", "error_kind", "points", "samples", "signature")
        }
        text = json.dumps(jsonable(extra), sort_keys=True) if extra else ""

        # The paper's number and protocol only stand beside the measure that it printed.
        printed = measure.name == cell.measure and not measure.signature.of_other_data
        printed_shown = printed_shown or printed
        blanked = {} if printed else {"published": None, "paper_signature": ""}
        marks = flags.join((*of_run, *measure.flags))
        rows.append(
            {**run, **numbers, **blanked, "metric": measure.name, "extra": text, "flags": marks}
        )

    # Without a row of the printed measure the paper's signature would be nowhere in the frame.
    if rows and not printed_shown:
        rows[0]["paper_signature"] = cell.paper_signature
    return rows or [run]


def as_asked(extra: str) -> bool:
    """Whether the row with this ``extra`` was measured as its cell asks."""
    # Nearly all rows lack the key, and a search in the text is much faster than parsing the JSON.
    return '"current"' not in extra or json.loads(extra).get("current") is not False


def typed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a frame with exactly COLUMNS and their types, empty or not.

    Flags that follow from a row are added.
    """
    import pandas as pd

    rows = [{**row, "flags": flags.of_row(row)} for row in rows]

    # pandas would guess other types from an empty list, or from one with None in it.
    def column(name: str, kind: str) -> pd.Series:
        values = [row.get(name) for row in rows]
        if kind == TEXT:
            values = ["" if v is None else str(v) for v in values]
        elif kind == NUMBER:
            values = [math.nan if v is None else float(v) for v in values]
        return pd.Series(values, dtype=kind)

    return pd.DataFrame({name: column(name, kind) for name, kind in COLUMNS.items()})


def write_csv(frame: pd.DataFrame, path: Path | str) -> None:
    """Write the long frame as CSV, atomically; UserError if the file cannot be written."""
    write_output(Path(path), csv_text(frame))


def empty() -> pd.DataFrame:
    """Return a long frame without lines."""
    import pandas as pd

    return pd.DataFrame(columns=list(COLUMNS))


def csv_text(frame: pd.DataFrame) -> str:
    """Return the long frame as CSV text; ``read_csv`` makes an equal frame of it."""
    return frame[list(COLUMNS)].to_csv(index=False, lineterminator="\n")


def read_csv(path: Path | str) -> pd.DataFrame:
    """Read a long frame from a file of ``write_csv``.

    Raises UserError if the file is missing or is not such a CSV.
    """
    import csv
    import io

    path = Path(path)
    if not path.is_file():
        wrong = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {wrong}; expected a results CSV as written by `vaebench report`")
    try:
        # Spreadsheets put a byte-order mark at its beginning.
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    except UnicodeDecodeError as e:
        raise UserError(
            f"{path}: not a results CSV: not UTF-8 text (byte {e.object[e.start]:#x}, place "
            f"{e.start + 1})"
        ) from None
    except (OSError, csv.Error) as e:
        raise UserError(f"{path}: not a results CSV: {e}") from None

    missing = lacking(header)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(
            f"{path}: not a results CSV: missing columns {', '.join(missing[:3])}{more}"
        )

    # The header is record 1.
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise UserError(
                f"{path}: record {number} has {len(line)} fields, expected {len(header)}"
            )
        rows.append(_parsed(dict(zip(header, line, strict=True)), f"{path}: record {number}"))
    return typed(rows)


def lacking(header: Iterable[str]) -> list[str]:
    """Return the columns that ``header`` lacks and that every results CSV must have.

    Those of LATER may be missing.
    """
    present = set(header)
    return [name for name in COLUMNS if name not in present and name not in LATER]


def _parsed(record: dict[str, str], where: str) -> dict[str, Any]:
    """Return one CSV record with its types.

    float() reads a printed float exactly, which pandas' fast parser does not.
    """
    convert: dict[str, Callable[[str], Any]] = {
        TEXT: str,
        NUMBER: float,
        WHOLE: _int64,
        SEED: _int64,
        FLAG: {"True": True, "False": False}.__getitem__,
    }
    row: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        text = record.get(name, "")  # a column of LATER may be missing

        try:
            row[name] = None if text == "" and kind in (NUMBER, WHOLE) else convert[kind](text)
        except (ValueError, KeyError):
            raise UserError(
                f"{where}: column {name}: {shortened(text)!r} is not {IN_WORDS[kind]}"
            ) from None

        if name in FROM_ZERO and (row[name] or 0) < 0:
            raise UserError(f"{where}: column {name}: {text} is negative")

    if row["extra"] and not _is_object(row["extra"]):
        raise UserError(f"{where}: column extra: {shortened(row['extra'])!r} is not a JSON object")
    try:
        flags.split(row["flags"])
    except ValueError:
        raise UserError(
            f"{where}: column flags: {shortened(row['flags'])!r} is not a JSON list of texts"
        ) from None
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
