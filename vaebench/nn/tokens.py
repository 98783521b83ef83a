"""Documents as rows of token numbers.

Their lengths, what is predicted of them, which have one length.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lengths_of(tokens: Tensor) -> Tensor:
    """Number of tokens of every document (n, d), padding 0 not counted: (n,) int64."""
    return (tokens != 0).sum(1)


def predicted(tokens: Tensor) -> int:
    """Predicted tokens of the documents (n, d).

    Words and the end of each, but not its start, nor padding.
    """
    return int((lengths_of(tokens) - 1).sum())


def groups(lengths: Tensor, batch: int, exact: bool = True) -> list[Tensor]:
    """Rows of documents with ``lengths`` (n,), shortest first, in batches of at most ``batch``.

    Equal lengths keep their order. ``exact``: only documents of one length share a batch.
    """
    rows = torch.argsort(lengths, stable=True)
    if not exact:
        return list(rows.split(batch))
    _, counts = torch.unique_consecutive(lengths[rows], return_counts=True)
    return [part for alike in rows.split(counts.tolist()) for part in alike.split(batch)]
