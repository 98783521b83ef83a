"""The lines of a text that comes from outside, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vaebench.data.files.content import UNREADABLE, open_content
from vaebench.errors import DataError

_BOM = b"\xef\xbb\xbf"


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text, plain or gzipped.

    Each is its number, from 1, and the line without its end: LF, CR or both. A byte order mark is
    dropped. Raises DataError if the file cannot be read, is no such text or holds a NUL.
    """
    number = 0
    try:
        with open_content(path) as f:
            for raw in f:
                raw = raw.removeprefix(_BOM) if number == 0 else raw
                # With the end of the line removed, any carriage return left is itself an end.
                for part in raw.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
                    number += 1
                    yield number, _decoded(path, number, part)
    except UNREADABLE as e:
        raise DataError(f"{path}: truncated or damaged gzip ({e})") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as e:
        byte = line[e.start]
        raise DataError(
            f"{path}: line {number} is not UTF-8 text (byte 0x{byte:02x}, place {e.start + 1})"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: line {number} has a NUL byte: binary, or not UTF-8 text")
    return text
