"""Writing files whole or not at all, and reading JSON that somebody else may have written."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from vaebench.errors import UserError


def write_atomic(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file so that it is either the old or the new one, whatever happens.

    The folder is created. A symbolic link stays one, and its target is written. A file that exists
    keeps its permissions, but not its owner or its hard links, because another file takes its
    place. Everything that vaebench writes as a whole passes through here as finished bytes, because
    a library that writes to the disk itself may crash if it is full (HDF5 does).

    Args:
        path: The file. A device or a pipe is written to as it is, without these promises.
        content: Its whole content.
        sync: Wait until the disk has the file and its name. Then they survive a loss of power, as
            far as the file system keeps its word. This takes milliseconds, too long for very many
            files that can be made again.

    Raises:
        OSError: If it cannot be written. The old file is unchanged then, and nothing else is left.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        # A device or a pipe, such as /dev/stdout, is written to and never replaced.
        path.write_bytes(data)
        return

    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)

    # ``os.replace`` is atomic within a file system only, so the temporary file lies in the same
    # folder. Its name is unique, because several processes may write the same file.
    temporary = path.parent / f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with temporary.open("xb") as f:
            f.write(data)
            f.flush()
            if sync:
                os.fsync(f.fileno())
        with contextlib.suppress(OSError):  # a new file, or the disk knows no permissions
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too must leave no temporary file
        temporary.unlink(missing_ok=True)
        raise

    if sync:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, if the system can tell."""
    with contextlib.suppress(OSError):  # some network disks refuse it; the file is written anyway
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_output(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file that the user asked for, as ``write_atomic`` does.

    Raises UserError if it cannot be written.
    """
    try:
        write_atomic(path, content, sync)
    except (FileExistsError, NotADirectoryError):
        # Name the part of the path that exists but is a file.
        obstacle = next((part for part in path.parents if part.exists()), path.parent)
        raise UserError(f"cannot write {path}: {obstacle} is not a folder") from None
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None


def carried(name: str) -> Path | None:
    """Return a folder that a wheel has inside the package and a checkout has beside it.

    None if this installation has neither.
    """
    package = Path(__file__).resolve().parent
    return next(
        (place for place in (package / name, package.parent / name) if place.is_dir()), None
    )


def parse_json(content: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises ValueError for all other text, however deeply it is nested.
    """
    if not content.strip():
        raise ValueError("empty")
    try:
        return json.loads(content)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"not JSON from line {e.lineno}, place {e.colno} on") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def jsonable(value: Any) -> Any:
    """Return plain JSON values: NaN and infinities become None, tuples lists, paths text.

    NumPy or torch scalars become numbers, their arrays lists.
    """
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    # Arrays and scalars of NumPy and torch, without importing either.
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return value
