"""Documents as rows of token numbers.

``<s>``, words, ``</s>``, then padding up to the width of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.nn.tokens import lengths_of


class Documents(NamedTuple):
    """``tokens`` (batch, width), int64, cut to the longest document.

    ``lengths`` (batch,) with ``<s>`` and ``</s>``. ``even``: all of one length, so
    that there is no padding.
    """

    tokens: Tensor
    lengths: Tensor
    even: bool

    @property
    def steps(self) -> int:
        """Predictions of the longest document: every token but its first."""
        return self.tokens.shape[1] - 1


def read(x: Tensor) -> Documents:
    """Rows ``x`` (batch, d) of token numbers in any dtype; padding stands at the end of a row only.

    Whatever a model makes of them depends neither on d nor on the padding.
    """
    words = x.long()
    lengths = lengths_of(words)
    shortest, longest = torch.stack(torch.aminmax(lengths)).tolist()
    return Documents(words[:, :longest], lengths, shortest == longest)
