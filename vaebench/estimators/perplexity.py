"""Perplexity: exp of the NLL per predicted token over all documents.

Predicted are words and the end of the document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from vaebench.nn.tokens import predicted


@dataclass(frozen=True)
class Perplexity:
    """``value`` with its standard ``error`` by the delta method.

    None where that of the NLL is unknown. ``tokens``: predicted tokens of all documents.
    """

    value: float
    error: float | None
    tokens: int


def perplexity(nll: float, error: float | None, x: Tensor) -> Perplexity:
    """Of documents ``x`` (n, d) with a mean of ``nll`` nats per document.

    ``error``: its standard error. exp(n nll / tokens); infinite where that is
    too large for a number.
    """
    tokens = predicted(x)
    rate = len(x) / tokens
    value = math.exp(rate * nll) if rate * nll < 700 else math.inf
    return Perplexity(value, None if error is None else value * rate * error, tokens)
