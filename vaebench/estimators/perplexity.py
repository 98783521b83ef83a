"""Perplexity: exp of the NLL per predicted token over all documents.

The words and the end of the document are predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from vaebench.nn.tokens import predicted

LARGEST = 700.0
"""Nats per token beyond which a perplexity counts as infinite, because exp overflows at 709.8."""


@dataclass(frozen=True)
class Perplexity:
    """A perplexity with its standard ``error`` by the delta method.

    The error is None if that of the NLL is unknown. ``tokens`` is the number of predicted tokens of
    all documents.
    """

    value: float
    error: float | None
    tokens: int


def perplexity(nll: float, error: float | None, x: Tensor) -> Perplexity:
    """Return the perplexity of documents ``x`` (n, d) whose mean is ``nll`` nats per document.

    It is exp(n nll / tokens), or infinite if that overflows. ``error`` is the standard error of
    ``nll``.
    """
    tokens = predicted(x)
    rate = len(x) / tokens
    value = exp(rate * nll)
    return Perplexity(value, None if error is None else value * rate * error, tokens)


def exp(rate: float) -> float:
    """Return the perplexity of ``rate`` nats per token; infinite beyond ``LARGEST``."""
    return math.exp(rate) if rate < LARGEST else math.inf
