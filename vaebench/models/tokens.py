"""Documents as rows of token numbers.

A row is ``<s>``, words, ``</s>``, then padding up to the width of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.nn.tokens import lengths_of


class Documents(NamedTuple):
    """A batch of documents.

    Attributes:
        tokens: Token numbers (batch, width), int64, cut to the longest document.
        lengths: Tokens of each document, (batch,), ``<s>`` and ``</s>`` included.
        even: Whether all have the same length, so that there is no padding.
    """

    tokens: Tensor
    lengths: Tensor
    even: bool

    @property
    def steps(self) -> int:
        """Number of predictions in the longest document: every token but its first."""
        return self.tokens.shape[1] - 1


def read(x: Tensor) -> Documents:
    """Read rows ``x`` (batch, d) of token numbers, in any dtype.

    Padding may stand at the end of a row only.

    What a model computes from the result depends neither on d nor on the padding.
    """
    words = x.long()
    lengths = lengths_of(words)
    # Both numbers at once, since each transfer from a GPU makes the host wait.
    shortest, longest = torch.stack(torch.aminmax(lengths)).tolist()
    return Documents(words[:, :longest], lengths, shortest == longest)
