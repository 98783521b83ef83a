"""Many images put together into one: in rows, with lines between them."""

from __future__ import annotations

import numpy as np

LINE = 0.5
"""Grey of the lines between images."""


def mosaic(pictures: np.ndarray, group: int = 1, line: float = LINE) -> np.ndarray:
    """Put images beside each other into one.

    Args:
        pictures: (down, across, height, width).
        group: Columns that belong together: the line between groups is three pixels wide, other
            lines one.
        line: Value of the pixels of a line.

    Returns:
        (rows, columns) of pixels.
    """
    down, across, height, width = pictures.shape
    # Left edges of the columns: each image is followed by a line of one pixel, each group by two
    # more.
    lefts = [i * (width + 1) + (i // group) * (2 if group > 1 else 0) for i in range(across)]
    out = np.full((down * (height + 1) - 1, lefts[-1] + width), line)
    for row in range(down):
        top = row * (height + 1)
        for column, left in enumerate(lefts):
            out[top : top + height, left : left + width] = pictures[row, column]
    return out


def rows_of(pictures: np.ndarray, across: int) -> np.ndarray:
    """Arrange images (n, ...) in rows of ``across``, (down, across, ...).

    The last row is filled up with zeros.
    """
    down = -(-len(pictures) // across)  # rounded up
    missing = down * across - len(pictures)
    blank = np.zeros((missing, *pictures.shape[1:]), pictures.dtype)
    return np.concatenate([pictures, blank]).reshape(down, across, *pictures.shape[1:])
