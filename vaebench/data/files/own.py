"""The content of a user's own files as one digest, which a run's settings keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaebench.data.files.content import UNREADABLE, digest_as_last_changed
from vaebench.errors import DataError


def gone(content: Any, paths: Mapping[str, Path]) -> bool:
    """Whether the content is known and none of the files exists any more.

    Only the prepared file is left then.
    """
    return bool(content) and not any(path.exists() for path in paths.values())


def refuse_changed(content: Any, found: str, paths: Mapping[str, Path]) -> None:
    """Raise DataError naming the files if they do not hold the known content.

    Each is named with its setting of ``data``. Nothing is known if ``content`` is empty.
    """
    if content and found != content:
        named = " ".join(f"data.{name}={path}" for name, path in paths.items())
        raise DataError(
            f"{named}: not what they were: expected content {content[:16]}, found {found[:16]}"
        )


def content_of(
    paths: Mapping[str, Path], head: Iterable[str] = (), folder: str = "a folder"
) -> str:
    """Return one hex SHA-256 over what files hold, plain or gzipped alike.

    Args:
        paths: The files, by their setting of ``data``.
        head: Lines that say how the files are read, if there are several ways.
        folder: What the error says if a folder is in the place of a file.

    Raises:
        DataError: If a file is missing, damaged or cannot be read.
    """
    lines = [*head]
    for name, path in paths.items():
        if not path.is_file():
            raise DataError(
                f"data.{name}={path}: {folder if path.is_dir() else 'there is no such file'}"
            )
        # The digest is that of the unzipped content, so a file and its gzipped copy are the same.
        try:
            lines.append(f"{name}:{digest_as_last_changed(path)}")
        except UNREADABLE as e:
            raise DataError(f"data.{name}={path}: truncated or damaged gzip ({e})") from None
        except OSError as e:
            raise DataError(f"data.{name}={path}: cannot be read ({e.strerror or e})") from None
    return digest(lines)


def digest(lines: Iterable[str]) -> str:
    """Return the hex SHA-256 of lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
