"""How quantities are written for people, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """``4.2 s``, ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_line(error: Exception) -> str:
    """The first line of what an error of another library says."""
    return str(error).strip().partition("\n")[0]


def shortened(text: str, most: int = 60) -> str:
    """The text, cut where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def aligned(rows: Sequence[Sequence[object]], indent: str = "") -> str:
    """Lines of left-aligned columns, two spaces apart, without trailing blanks."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        (indent + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True))).rstrip() for row in texts
    )
