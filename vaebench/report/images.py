"""A drawing as the bytes of an image file; equal drawings give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest
from vaebench.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Canvas

SUFFIXES = ("png", "svg", "pdf")

DPI = 150
"""Dots of an inch."""

DOTS = 4
"""Of the side of an image's pixel."""

LARGEST = 2**14
"""Dots of the side of a picture, if its pixels can be so small."""

LINE = 0.5
"""Grey of the lines between images."""


def kind_of(path: Path) -> str:
    """The kind of image a file name asks for, one of SUFFIXES. Raises UserError for any other."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in SUFFIXES:
        raise UserError(f"{path}: cannot draw to {path.suffix or 'a name without suffix'!r}: {nearest(kind, SUFFIXES)}")
    return kind


def image(draw: Callable[[Canvas], None], kind: str, title: str = "") -> bytes:
    """A drawing under a title as an image file.

    Args:
        draw: Draws on an empty matplotlib figure, whose size it sets.
        kind: One of SUFFIXES.
        title: Stands above; empty for none.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(layout="constrained")
    draw(canvas)
    if title:
        canvas.suptitle(title, wrap=True, fontsize="medium")

    FigureCanvasAgg(canvas)
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vaebench"}):
        canvas.savefig(content, format=kind, metadata=metadata, dpi=DPI)
    return content.getvalue()


def save(path: Path, draw: Callable[[Canvas], None], title: str = "") -> None:
    """As ``image``, written to a file. UserError for another suffix, or no right to write."""
    content = image(draw, kind_of(path), title)
    try:
        write_atomic(path, content)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None


def mosaic(pictures: np.ndarray, group: int = 1) -> np.ndarray:
    """Images beside each other as one.

    Args:
        pictures: (down, across, height, width), ones dark.
        group: Columns that belong together: the line between groups is three pixels wide, others are of one.

    Returns:
        (rows, columns) of pixels, LINE where a line is.
    """
    import numpy as np

    down, across, height, width = pictures.shape
    lefts = [i * (width + 1) + (i // group) * (2 if group > 1 else 0) for i in range(across)]
    out = np.full((down * (height + 1) - 1, lefts[-1] + width), LINE)
    for row in range(down):
        top = row * (height + 1)
        for column, left in enumerate(lefts):
            out[top : top + height, left : left + width] = pictures[row, column]
    return out


def rows_of(pictures: np.ndarray, across: int) -> np.ndarray:
    """Images (n, ...) in rows of ``across``, (down, across, ...), the last row filled up with white."""
    import numpy as np

    down = -(-len(pictures) // across)
    missing = down * across - len(pictures)
    blank = np.zeros((missing, *pictures.shape[1:]), pictures.dtype)
    return np.concatenate([pictures, blank]).reshape(down, across, *pictures.shape[1:])


def pixels(canvas: Canvas, picture: np.ndarray) -> None:
    """A picture (rows, columns) of numbers from 0, white, to 1, black, over a whole figure: squares of equal size."""
    rows, columns = picture.shape
    side = max(1, min(DOTS, LARGEST // max(rows, columns)))
    canvas.set_layout_engine("none")
    canvas.set_size_inches(columns * side / DPI, rows * side / DPI)
    panel = canvas.add_axes((0, 0, 1, 1))
    panel.axis("off")
    panel.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
