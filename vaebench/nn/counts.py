"""Documents as counts, (batch, V), and as their words, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def words_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """List the words of all documents one by one, and the document of each word.

    Args:
        x: Counts, (batch, V), whole numbers from 0 in any dtype.

    Returns:
        Word numbers, (n,), and rows of ``x``, (n,), sorted by document, then by word number.
    """
    # ``nonzero`` goes row by row, which is the order promised above.
    document, word = x.nonzero(as_tuple=True)
    times = x[document, word].to(torch.int64)
    return word.repeat_interleave(times), document.repeat_interleave(times)


def parts(x: Tensor, words: int) -> list[Tensor]:
    """Split documents ``x`` (n, V) into pieces of at most ``words`` words, or of one document."""
    lengths = x.sum(-1).tolist()

    # Numbers of documents in the finished pieces; number of documents and of words in the piece
    # that is being filled.
    sizes = []
    size = 0
    total = 0.0
    for length in lengths:
        # A piece has at least one document, however long that is.
        if size and total + length > words:
            sizes.append(size)
            size = 0
            total = 0.0
        size += 1
        total += length

    return list(x.split([*sizes, size])) if len(x) else []
