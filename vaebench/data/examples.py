"""Examples as a model sees them.

Made of the prepared arrays, in training anew at every visit, for evaluation once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vaebench.data.images.binarize import binarize_once
from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits

if TYPE_CHECKING:
    from torch import Tensor

TRAINING_STREAM = 2
"""Of the noise that makes grey training examples binary for evaluation; those of
the files are 0 and 1."""


def prepare(kind: Kind, rows: Tensor, noise: Tensor | None = None) -> Tensor:
    """Training examples as a step is given them.

    Args:
        kind: Of the examples.
        rows: Of the prepared array, (..., d), in its dtype.
        noise: For grey examples uniforms on [0, 1) of the same shape; a pixel is 1 where they are
            below grey / 255.

    Returns:
        Documents as they are, for models read token numbers of any dtype; all
        others (..., d) float32.
    """
    if kind is Kind.TOKENS:
        return rows
    if kind is not Kind.GREY:
        return rows.float()
    if noise is None:
        raise ValueError("grey examples are made binary by noise, and there is none")
    return binarized(rows, noise).float()


def binarized(rows: Tensor, noise: Tensor) -> Tensor:
    """Which pixels of grey ``rows`` (..., d) are 1, bool.

    Those whose ``noise``, on [0, 1), is below grey / 255.
    """
    return noise * 255.0 < rows.float()


Rows = TypeVar("Rows", "np.ndarray", "Tensor")


def every_nth(x: Rows, points: int | None) -> Rows:
    """``points`` of the examples ``x``, spread evenly: every tenth of ten times as many.

    All if there are fewer.
    """
    if not points or points >= len(x):
        return x
    return x[np.arange(points) * len(x) // points]


def fixed(splits: Splits, split: str, places: np.ndarray | None = None) -> np.ndarray:
    """Examples of a split for evaluation, where every visit must see the same.

    Args:
        splits: The data.
        split: ``train``, ``valid`` or ``test``.
        places: Which of the split, (n,); None: all.

    Returns:
        (n, d) in the dtype of the data. Grey training examples are made binary once and for all:
        each has its own noise, whichever others are asked for.
    """
    every = getattr(splits, split)
    places = np.arange(len(every)) if places is None else places
    chosen = every[places]
    if splits.kind is Kind.GREY and split == "train":
        return binarize_once(chosen, TRAINING_STREAM, places)
    return chosen
