"""Drawings as the bytes of image files; equal drawings have equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as Canvas

SUFFIXES = ("png", "svg", "pdf")

DPI = 150
"""Dots of an inch."""

DOTS = 4
"""Dots of the side of an image's pixel."""

LARGEST = 2**14
"""Most dots of the side of a picture, unless one dot for each pixel is more."""


def kind_of(path: Path) -> str:
    """Return the kind of image that a file name asks for, one of SUFFIXES; UserError for others."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in SUFFIXES:
        raise UserError(
            f"{path}: cannot draw to {path.suffix or 'a name without suffix'!r}: "
            f"{nearest(kind, SUFFIXES)}"
        )
    return kind


def image(draw: Callable[[Canvas], None], kind: str, title: str = "") -> bytes:
    """Return a drawing under a title as an image file.

    Args:
        draw: Draws on an empty matplotlib figure, and sets its size.
        kind: One of SUFFIXES.
        title: Title above the drawing; empty for none.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(layout="constrained")
    draw(canvas)
    if title:
        canvas.suptitle(title, wrap=True, fontsize="medium")

    FigureCanvasAgg(canvas)

    # Equal drawings must have equal bytes: no date in the file, ids of an SVG from a fixed salt.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vaebench"}):
        canvas.savefig(content, format=kind, metadata=metadata, dpi=DPI)
    return content.getvalue()


def pixels(canvas: Canvas, picture: np.ndarray) -> None:
    """Draw a picture (rows, columns) of numbers from 0, white, to 1, black, over a whole figure.

    Its pixels are squares of equal size.
    """
    rows, columns = picture.shape

    # Each pixel is a square of DOTS x DOTS dots, of fewer if the picture would be too large.
    side = max(1, min(DOTS, LARGEST // max(rows, columns)))

    canvas.set_layout_engine("none")
    canvas.set_size_inches(columns * side / DPI, rows * side / DPI)
    panel = canvas.add_axes((0, 0, 1, 1))
    panel.axis("off")
    panel.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
