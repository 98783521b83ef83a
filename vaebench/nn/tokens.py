"""Documents as rows of token numbers: their lengths, predicted tokens, and batches by length."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths_of(tokens: Tensor) -> Tensor:
    """Return the number of tokens of every document (n, d), without padding 0: (n,) int64."""
    return (tokens != 0).sum(1)


def predicted(tokens: Tensor) -> int:
    """Return the number of predicted tokens of all documents (n, d).

    These are the words and the end of each document, but not its start or padding.
    """
    return int((lengths_of(tokens) - 1).sum())


def groups(lengths: Tensor, batch: int, exact: bool = True) -> list[Tensor]:
    """Sort documents by length and split them into batches of at most ``batch``, shortest first.

    Args:
        lengths: Of the documents, (n,).
        batch: The largest number of documents in a batch.
        exact: Whether only documents of one length share a batch.

    Returns:
        Row numbers of each batch. Documents of equal length keep their order.
    """
    rows = torch.argsort(lengths, stable=True)
    if not exact:
        return list(rows.split(batch))

    # Cut the sorted rows where the length changes, then each run into batches.
    _, counts = torch.unique_consecutive(lengths[rows], return_counts=True)
    return [part for alike in rows.split(counts.tolist()) for part in alike.split(batch)]
