"""Images that a model makes, on their way out.

As lines of zeros and ones, or in a grid drawn to a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from vaebench.data.images.mosaic import mosaic, rows_of
from vaebench.errors import UserError
from vaebench.report.images import SUFFIXES, image, kind_of, pixels
from vaebench.verbs import put, write

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vaebench.evaluation.trained_run import Trained

OTHER_IMAGES = ("jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff")
"""Names of images that are not drawn, so that none of them becomes a file of text."""

MOST = 10_000
"""Images of one picture."""


def is_picture(output: Path | None) -> TypeGuard[Path]:
    """Whether a file of that name is an image."""
    if output is None:
        return False
    kind = output.suffix.lstrip(".").lower()
    if kind in OTHER_IMAGES:
        kind_of(output)  # says which are drawn
    return kind in SUFFIXES


def check_room(option: str, number: int, output: Path | None) -> None:
    """Raises UserError for more images than a picture holds, where one is asked for."""
    if is_picture(output) and number > MOST:
        raise UserError(f"{option}: {number:,} images; a picture holds {MOST:,} at most")


def show(x: Tensor, trained: Trained, output: Path | None) -> None:
    """Images (n, d): one a line, or in a picture.

    In the latter, where ``output`` is its name, in rows of ten or, of many, of more.
    """
    if not is_picture(output):
        put("".join(f"{_line(bits)}\n" for bits in x), output)
        return
    across = max(min(len(x), 10), math.isqrt(len(x)))
    draw(rows_of(_images(x, trained), across), output)


def show_pairs(originals: Tensor, again: Tensor, trained: Trained, output: Path | None) -> None:
    """Images (n, d) beside what became of them.

    Two a line, with a tab between, or in a square of pairs.
    """
    if not is_picture(output):
        put(
            "".join(f"{_line(a)}\t{_line(b)}\n" for a, b in zip(originals, again, strict=True)),
            output,
        )
        return
    import numpy as np

    pairs = np.stack([_images(originals, trained), _images(again, trained)], 1)
    per_row = math.ceil(math.sqrt(len(pairs)))
    grid = rows_of(pairs, per_row)
    draw(grid.reshape(len(grid), 2 * per_row, *grid.shape[3:]), output, group=2)


def show_grid(x: Tensor, trained: Trained, output: Path | None) -> None:
    """Images (down, across, d): one a line, row by row, or in a picture as they stand."""
    down, across, _ = x.shape
    if not is_picture(output):
        put("".join(f"{_line(bits)}\n" for bits in x.flatten(0, 1)), output)
        return
    each = _images(x.flatten(0, 1), trained)
    draw(each.reshape(down, across, *each.shape[1:]), output)


def draw(grid: np.ndarray, output: Path, group: int = 1) -> None:
    """A grid of images (down, across, height, width), ones dark, as a file.

    See ``data.images.mosaic``.
    """
    picture = mosaic(grid, group)
    write(output, image(lambda canvas: pixels(canvas, picture), kind_of(output)))


def _images(x: Tensor, trained: Trained) -> np.ndarray:
    """Images (n, d) in their shape; what is no image stands in one row."""
    return x.cpu().numpy().reshape(len(x), *trained.splits.picture)


def _line(bits: Tensor) -> str:
    return "".join("01"[int(bit)] for bit in bits.tolist())
