"""Output of images that a model makes.

They are written as lines of zeros and ones, or drawn to a file in a grid.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from vaebench.data.images.mosaic import mosaic, rows_of
from vaebench.errors import TYPO, UserError, likely
from vaebench.report.images import SUFFIXES, image, kind_of, pixels
from vaebench.verbs import put, write

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vaebench.evaluation.trained_run import Trained

OTHER_IMAGES = ("jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff")
"""Formats that images are not drawn in. Their names are refused, lest text be written to them."""

MOST = 10_000
"""Most images of one picture."""


def is_picture(output: Path | None) -> TypeGuard[Path]:
    """Whether a file of that name is to be drawn.

    Raises UserError for OTHER_IMAGES, and for an ending that looks like a picture's misspelt.
    """
    if output is None:
        return False

    kind = output.suffix.lstrip(".").lower()
    if kind in SUFFIXES:
        return True

    if kind in OTHER_IMAGES or likely(kind, [*SUFFIXES, *OTHER_IMAGES], TYPO):
        kind_of(output)  # raises the UserError that says which are drawn
    return False


def check_room(option: str, number: int, output: Path | None) -> None:
    """Raise UserError if a picture is asked for and it cannot hold so many images."""
    if is_picture(output) and number > MOST:
        raise UserError(f"{option}: {number:,} images; a picture holds {MOST:,} at most")


def show(x: Tensor, trained: Trained, output: Path | None) -> None:
    """Write images (n, d), one a line, or draw them if ``output`` is the name of a picture.

    A picture has rows of ten images, or of the square root of n if that is more.
    """
    if not is_picture(output):
        put("".join(f"{_line(bits)}\n" for bits in x), output)
        return

    across = max(min(len(x), 10), math.isqrt(len(x)))  # images in a row
    draw(rows_of(_images(x, trained), across), output)


def show_pairs(originals: Tensor, again: Tensor, trained: Trained, output: Path | None) -> None:
    """Write images (n, d) beside their reconstructions.

    They are written two a line, with a tab between, or drawn in a square of pairs.
    """
    if not is_picture(output):
        put(
            "".join(f"{_line(a)}\t{_line(b)}\n" for a, b in zip(originals, again, strict=True)),
            output,
        )
        return

    import numpy as np

    # (n, 2, height, width), in a grid (rows, per_row, 2, height, width). Two of its dimensions are
    # merged, so that an image and its reconstruction are neighbours in a row.
    pairs = np.stack([_images(originals, trained), _images(again, trained)], 1)
    per_row = math.ceil(math.sqrt(len(pairs)))
    grid = rows_of(pairs, per_row)
    draw(grid.reshape(len(grid), 2 * per_row, *grid.shape[3:]), output, group=2)


def show_grid(x: Tensor, trained: Trained, output: Path | None) -> None:
    """Write images (down, across, d), one a line, row by row, or draw them as they are arranged."""
    down, across, _ = x.shape
    if not is_picture(output):
        put("".join(f"{_line(bits)}\n" for bits in x.flatten(0, 1)), output)
        return

    each = _images(x.flatten(0, 1), trained)
    draw(each.reshape(down, across, *each.shape[1:]), output)


def draw(grid: np.ndarray, output: Path, group: int = 1) -> None:
    """Draw a grid of images (down, across, height, width) to a file; ones are dark.

    See ``data.images.mosaic``.
    """
    picture = mosaic(grid, group)
    write(output, image(lambda canvas: pixels(canvas, picture), kind_of(output)))


def _images(x: Tensor, trained: Trained) -> np.ndarray:
    """Return images (n, d) in their shape; data that are no images become one row."""
    return x.cpu().numpy().reshape(len(x), *trained.splits.picture)


def _line(bits: Tensor) -> str:
    return "".join("01"[int(bit)] for bit in bits.tolist())
