"""Perplexities of documents as counts, from the NLL of each.

The mean over documents, and the one of all tokens. A document of L tokens and a token sequence of
probability p has -(1/L) log p nats per token. The perplexity per document is exp of the mean of
these over documents, in which a short document counts as much as a long one (Mnih & Gregor 2014,
section 4.3). The pooled one is exp of all nats over all tokens. They are different numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

LARGEST = 700.0
"""Nats per token beyond which exp is no number."""


@dataclass(frozen=True)
class Perplexity:
    """``value`` with its Monte Carlo standard ``error`` given the documents.

    None where that of an NLL is unknown. ``case_error``: the standard error over documents, as if
    they were a sample of a population; None of a single one. Both are by the delta method: the
    value times the error of its logarithm.
    """

    value: float
    error: float | None
    case_error: float | None


def per_document(nll: Tensor, tokens: Tensor, variance: Tensor | None = None) -> Perplexity:
    """exp of the mean over documents of the NLL per token.

    Args:
        nll: Of every document, (n,), nats; a bound in its place gives an upper bound.
        tokens: Of every document, (n,), at least one.
        variance: Of every ``nll``, (n,), nats^2; None where it is unknown or there is none.
    """
    rate = nll.double() / tokens
    error = (
        None
        if variance is None
        else float((variance.double() / tokens.double() ** 2).sum().sqrt()) / len(rate)
    )
    case_error = float(rate.std()) / math.sqrt(len(rate)) if len(rate) > 1 else None
    return _exp(float(rate.mean()), error, case_error)


def pooled(nll: Tensor, tokens: Tensor, variance: Tensor | None = None) -> Perplexity:
    """exp of the NLL of all documents over all their tokens; arguments as of ``per_document``."""
    n = len(nll)
    whole = float(tokens.double().sum())
    rate = float(nll.double().sum()) / whole
    error = None if variance is None else float(variance.double().sum().sqrt()) / whole
    # Of a ratio of two means the error is that of the mean residual.
    residual = nll.double() - rate * tokens
    case_error = math.sqrt(float((residual**2).sum()) * n / (n - 1)) / whole if n > 1 else None
    return _exp(rate, error, case_error)


def _exp(rate: float, error: float | None, case_error: float | None) -> Perplexity:
    value = math.exp(rate) if rate < LARGEST else math.inf
    errors = [None if e is None else value * e for e in (error, case_error)]
    return Perplexity(value, *errors)
