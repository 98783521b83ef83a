"""Documents as counts, (batch, V), and as their words, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def words_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """The words of all documents in a row, (n,), and the document of each, (n,).

    By document, then by word number.

    Args:
        x: Counts, (batch, V), whole numbers from 0 in any dtype.
    """
    document, word = x.nonzero(as_tuple=True)
    times = x[document, word].to(torch.int64)
    return word.repeat_interleave(times), document.repeat_interleave(times)


def parts(x: Tensor, words: int) -> list[Tensor]:
    """``x`` (n, V) in pieces of at most ``words`` words each, but at least one document."""
    length = x.sum(-1).tolist()
    sizes = []
    size = 0
    total = 0.0
    for v in length:
        if size and total + v > words:
            sizes.append(size)
            size = 0
            total = 0.0
        size += 1
        total += v
    return list(x.split([*sizes, size])) if len(x) else []
