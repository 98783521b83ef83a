"""A drawing as the bytes of an image file; equal drawings give equal bytes."""

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
"""Of the side of an image's pixel."""

LARGEST = 2**14
"""Dots of the side of a picture, if its pixels can be so small."""


def kind_of(path: Path) -> str:
    """The kind of image a file name asks for, one of SUFFIXES. Raises UserError for any other."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in SUFFIXES:
        raise UserError(
            f"{path}: cannot draw to {path.suffix or 'a name without suffix'!r}: "
            f"{nearest(kind, SUFFIXES)}"
        )
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


def pixels(canvas: Canvas, picture: np.ndarray) -> None:
    """A picture (rows, columns) of numbers from 0, white, to 1, black, over a whole figure.

    Squares of equal size.
    """
    rows, columns = picture.shape
    side = max(1, min(DOTS, LARGEST // max(rows, columns)))
    canvas.set_layout_engine("none")
    canvas.set_size_inches(columns * side / DPI, rows * side / DPI)
    panel = canvas.add_axes((0, 0, 1, 1))
    panel.axis("off")
    panel.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
