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
    from matplotlib.figure import Figure

SUFFIXES = ("png", "svg", "pdf")


def kind_of(path: Path) -> str:
    """The kind of image a file name asks for, one of SUFFIXES. Raises UserError for any other."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in SUFFIXES:
        raise UserError(f"{path}: cannot draw to {path.suffix or 'a name without suffix'!r}: {nearest(kind, SUFFIXES)}")
    return kind


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as a file of this kind."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vaebench"}):
        figure.savefig(content, format=kind, metadata=metadata, dpi=150)
    return content.getvalue()


def save(path: Path, draw: Callable[[Figure], None], title: str) -> None:
    """A titled figure as a png, svg or pdf file, replaced whole. UserError for another suffix, or no right to write."""
    from matplotlib.figure import Figure

    kind, figure = kind_of(path), Figure(layout="constrained")
    draw(figure)
    if title:
        figure.suptitle(title, wrap=True, fontsize="medium")
    try:
        write_atomic(path, encode(figure, kind))
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None


def tiles(figure: Figure, x: np.ndarray) -> None:
    """Images (n, height, width) beside each other on an empty figure, ones dark, in rows of ten at most."""
    n, height, width = x.shape
    across = min(n, 10)
    down = -(-n // across)
    figure.set_size_inches(0.6 * across, 0.6 * down * height / width)
    for panel, image in zip(figure.subplots(down, across, squeeze=False).flat, [*x, *[None] * across], strict=False):
        panel.axis("off")
        if image is not None:
            panel.imshow(image, cmap="gray_r", vmin=0, vmax=1)
