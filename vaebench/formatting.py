"""Quantities and lists as they are written for people, the same everywhere."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

BESIDE = 30
"""Width, in characters, that the last column of a list needs to be put beside the others."""


def duration(seconds: float) -> str:
    """Return seconds as ``4.2 s``, ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 run``, ``2 runs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_line(error: Exception) -> str:
    """Return the first line of another library's error, or its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shortened(text: str, most: int = 60) -> str:
    """Return the text, cut if it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def aligned(rows: Sequence[Sequence[object]], indent: str = "") -> str:
    """Return lines of left-aligned columns, two spaces apart, without trailing blanks."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        (indent + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True))).rstrip()
        for row in texts
    )


def listed(rows: Sequence[Sequence[object]], width: int | None, tail: int = 1) -> str:
    """Return the rows as ``aligned`` does, or with the last columns wrapped if that is too wide.

    If the lines are wider than ``width``, the last ``tail`` columns, or more if need be, are
    wrapped. They are put beside the others or, if there is no room, below them. Nothing is cut off
    and no word is broken, because it may be a path. The first row is the header.
    """
    whole = aligned(rows)
    if width is None or max(map(len, whole.splitlines())) <= width:
        return whole

    # If even the other columns do not fit, wrap one column more.
    heads = aligned([row[:-tail] for row in rows]).splitlines()
    lead = max(map(len, heads)) + 2
    if lead - 2 > width and tail < len(rows[0]) - 1:
        return listed(rows, width, tail + 1)

    # Beside the others only if the last column has room for its longest word.
    longest = max((len(word) for row in rows for word in str(row[-1]).split()), default=0)
    beside = tail == 1 and width - lead >= max(BESIDE, longest)
    whole_words: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    lines = []
    for head, row in zip(heads, rows, strict=True):
        # Below the others, empty cells would be empty lines.
        texts = [str(text) for text in row[-tail:] if str(text) not in ("", "-")]
        if beside:
            wrapped = textwrap.wrap(texts[0], width - lead, **whole_words) if texts else [""]
            lines += [
                (head.ljust(lead) + wrapped[0]).rstrip(),
                *(" " * lead + line for line in wrapped[1:]),
            ]
            continue

        # The header of the wrapped columns stays on one line below its own head. Of a single column
        # it is left out.
        lines.append(head)
        if row is rows[0]:
            lines += [f"    {'  '.join(texts)}"] if tail > 1 else []
            continue
        for text in texts:
            # Fast path: of very many lines most need no wrapping.
            if len(text) <= width - 4 and text == " ".join(text.split()):
                lines.append(f"    {text}")
                continue

            lines += textwrap.wrap(
                text, width, initial_indent="    ", subsequent_indent="      ", **whole_words
            )
    return "\n".join(lines)
