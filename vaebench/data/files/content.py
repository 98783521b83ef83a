"""The content of a data file and its SHA-256, whether or not the file is gzipped."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20
UNREADABLE = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a truncated or damaged gzip container raises."""


def open_content(path: Path) -> BinaryIO:
    """Open a file for reading, unzipped if its first bytes are those of gzip.

    The name of the file is not trusted.
    """
    with path.open("rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def digest_of(path: Path, unzipped: bool = False, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file, or of its unzipped content.

    Raises OSError, or one of UNREADABLE.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open_content(path) if unzipped else path.open("rb") as f:
        while block := f.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_as_last_changed(path: Path) -> str:
    """Return the SHA-256 of the unzipped content, computed again only if the file has changed.

    A table asks for it once for each of its cells. Raises OSError, or one of UNREADABLE.
    """
    stat = path.stat()
    return _remembered(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _remembered(path: Path, size: int, changed: int) -> str:
    return digest_of(path, unzipped=True)
