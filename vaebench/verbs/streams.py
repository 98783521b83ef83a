"""The standard streams, made safe for a command.

They may be closed or full, or take ASCII only.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

HANDLER = "vaebench_nearest"
"""Name of the error handler for characters that a stream's encoding lacks."""

ASCII = {"±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "−": "-"}  # noqa: RUF001
"""ASCII replacements of the characters that reports use."""


NARROWEST = 40
"""Least number of columns that anything is fitted to."""


class OutputError(Exception):
    """The standard output cannot be written. The command prints the line and exits with 1."""


@contextlib.contextmanager
def safe() -> Iterator[None]:
    """Make ``sys.stdout`` and ``sys.stderr`` usable for the time of the block, whatever they are.

    A closed descriptor is replaced, so that no file takes its number. If the standard output cannot
    be written, OutputError or BrokenPipeError is raised. If the standard error cannot be written,
    the text is dropped, because no message of ours may end a training. A character that the
    encoding lacks is replaced by the nearest ASCII.
    """
    codecs.register_error(HANDLER, _nearest)
    before = sys.stdin, sys.stdout, sys.stderr
    _open_closed()

    # Whatever was put in place of a stream, such as a buffer in a test, may have no handler to set.
    changed = [(s, s.errors) for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    try:
        for stream, _ in changed:
            # reconfigure flushes, which fails if the stream cannot be written.
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors=HANDLER)
        sys.stdout = _Stream(sys.stdout, _raise)
        sys.stderr = _Stream(sys.stderr, _drop)
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for stream, errors in changed:
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def width() -> int | None:
    """Return the columns of the terminal that is the standard output, or COLUMNS.

    None for a file or a pipe without COLUMNS.
    """
    columns = os.environ.get("COLUMNS", "")
    terminal = hasattr(sys.stdout, "isatty") and sys.stdout.isatty()
    if not terminal and not columns.isdecimal():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def colour() -> bool:
    """Whether the standard output is a terminal that shows colours, and NO_COLOR is not set."""
    terminal = hasattr(sys.stdout, "isatty") and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


def blocks() -> bool:
    """Whether the standard output is a terminal that can show block characters."""
    terminal = hasattr(sys.stdout, "isatty") and sys.stdout.isatty()
    # Encoding one of the characters tells whether the encoding has them.
    try:
        return terminal and bool("\u2581".encode(getattr(sys.stdout, "encoding", None) or "ascii"))
    except (UnicodeError, LookupError):
        return False


def release(stream: Any) -> None:
    """Drop the buffered text of a stream that cannot be written.

    Otherwise Python would try to write it once more when it exits, and report the failure again.
    """
    # The descriptor now leads to the null device, which takes all that is flushed later.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


class _Stream:
    """A text stream that passes failures to write to ``failed``; all else is the stream's own."""

    def __init__(self, stream: TextIO, failed: Any) -> None:
        self._stream = stream
        self._failed = failed

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as e:  # ValueError: closed by the program itself
            self._failed(self._stream, e)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as e:
            self._failed(self._stream, e)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _raise(stream: Any, error: Exception) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    closed = not isinstance(error, OSError) or error.errno == errno.EBADF
    reason = "it is closed" if closed else getattr(error, "strerror", "") or str(error)
    raise OutputError(f"cannot write to the standard output: {reason}") from None


def _drop(stream: Any, error: Exception) -> None:
    release(stream)


def _open_closed() -> None:
    """Replace closed descriptors.

    Reading from the replaced input returns nothing. Writing to a closed output must fail, so its
    descriptor is for reading only. Messages to a closed stderr go nowhere.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest free number, which may be another one.
            opened = os.open(os.devnull, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)

    # Python has None for a stream whose descriptor was closed when it started. closefd=False: the
    # descriptor outlives the stream made here.
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    r"""Replace ``±`` by ``+-``, ``é`` by ``e``, a character far from ASCII by ``\u4e2d``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    # NFKD separates a letter from its accents, which are then dropped as not ASCII.
    ascii_text = (
        ASCII.get(character)
        or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    )
    return ascii_text or character.encode("ascii", "backslashreplace").decode()
