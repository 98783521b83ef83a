"""Files that are written whole or not at all, and JSON that somebody else may have written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from vaebench.errors import UserError


def write_atomic(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file so that it is either the old or the new one, whatever happens.

    Creates the folder. Everything that vaebench writes comes through here, as finished bytes: a
    library that writes to a disk itself may not survive a full disk (HDF5 does not).

    Args:
        path: The file.
        content: All of it.
        sync: Wait until the disk has it, so that it survives a loss of power. That takes
            milliseconds: too long for very many files that can be made again.

    Raises:
        OSError: If it cannot be written; the old file is as it was then, and nothing else is left.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        # A device or a pipe, such as /dev/stdout: written to, never replaced.
        path.write_bytes(data)
        return

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with temporary.open("xb") as f:
            f.write(data)
            f.flush()
            if sync:
                os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_output(path: Path, content: str | bytes, sync: bool = True) -> None:
    """As ``write_atomic``, of a file that the user asked for.

    Raises UserError if it cannot be written.
    """
    try:
        write_atomic(path, content, sync)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None


def carried(name: str) -> Path | None:
    """A folder that a wheel carries inside the package and a checkout has beside it.

    None if this has neither.
    """
    package = Path(__file__).resolve().parent
    return next(
        (place for place in (package / name, package.parent / name) if place.is_dir()), None
    )


def parse_json(content: str | bytes) -> Any:
    """What JSON text holds.

    Raises ValueError for any text that is none, however deep it is nested.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def jsonable(value: Any) -> Any:
    """Plain JSON values: NaN and infinities become None, tuples lists.

    NumPy or torch scalars become numbers.
    """
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return value
