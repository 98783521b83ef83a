"""Examples as a model sees them, made from the prepared arrays.

In training they are made anew at every visit, for evaluation once.
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
"""Stream of the noise that makes grey training examples binary for evaluation. Streams 0 and 1 are
those of the files."""


def prepare(kind: Kind, rows: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return training examples as a step gets them.

    Args:
        kind: Kind of the examples.
        rows: Rows of the prepared array, (..., d), in its dtype.
        noise: For grey examples, uniforms on [0, 1) of the same shape; a pixel is 1 if its noise is
            below grey / 255.

    Returns:
        Documents as they are, because models read token numbers of any dtype; all others as
        (..., d) float32.
    """
    if kind is Kind.TOKENS:
        return rows
    if kind is not Kind.GREY:
        return rows.float()
    if noise is None:
        raise ValueError("grey examples are made binary by noise, and there is none")

    return binarized(rows, noise).float()


def binarized(rows: Tensor, noise: Tensor) -> Tensor:
    """Return which pixels of grey ``rows`` (..., d) are 1, as bool.

    A pixel is 1 if its ``noise``, on [0, 1), is below grey / 255.
    """
    return noise * 255.0 < rows.float()


Rows = TypeVar("Rows", "np.ndarray", "Tensor")


def every_nth(x: Rows, points: int | None) -> Rows:
    """Return ``points`` of the examples ``x``, spread evenly over them.

    If there are ten times as many, that is every tenth. If there are no more than ``points``, or
    ``points`` is None or 0, all are returned.
    """
    if not points or points >= len(x):
        return x
    return x[np.arange(points) * len(x) // points]


def fixed(splits: Splits, split: str, places: np.ndarray | None = None) -> np.ndarray:
    """Return examples of a split for evaluation, the same ones at every call.

    Args:
        splits: The data.
        split: ``train``, ``valid`` or ``test``.
        places: Places within the split, (n,); None for all.

    Returns:
        (n, d) in the dtype of the data. Grey training examples are made binary once and for all:
        the noise of each depends on its place alone, not on the other places.
    """
    # The other splits of grey data are binary already: loaders make them so.
    examples = getattr(splits, split)
    places = np.arange(len(examples)) if places is None else places
    chosen = examples[places]

    if splits.kind is Kind.GREY and split == "train":
        return binarize_once(chosen, TRAINING_STREAM, places)
    return chosen
