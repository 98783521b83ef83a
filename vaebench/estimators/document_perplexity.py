"""Perplexities of documents as counts, from the NLL of each: per document, and pooled.

A document of L tokens whose token sequence has probability p costs -(1/L) log p nats per token. The
perplexity per document is exp of the mean of this over documents, so a short document counts as
much as a long one (Mnih & Gregor 2014, section 4.3). The pooled perplexity is exp of all nats
divided by all tokens. The two numbers differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from vaebench.estimators.over_examples import standard_error
from vaebench.estimators.perplexity import exp


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and its errors by the delta method: the value times the error of its logarithm.

    ``error`` is the Monte Carlo standard error given the documents; None if the error of an NLL is
    unknown. ``case_error`` is the standard error over documents, as if they were a sample of a
    population; None for a single document.
    """

    value: float
    error: float | None
    case_error: float | None


def per_document(nll: Tensor, tokens: Tensor, variance: Tensor | None = None) -> Perplexity:
    """Return exp of the mean over documents of the NLL per token.

    Args:
        nll: NLL of every document, (n,), nats. A bound in its place gives an upper bound.
        tokens: Tokens of every document, (n,), at least one.
        variance: Variance of every ``nll``, (n,), nats^2; None if it is unknown or there is none.
    """
    rate = nll.double() / tokens

    # The documents' estimates are independent, so their variances add.
    error = (
        None
        if variance is None
        else float((variance.double() / tokens.double() ** 2).sum().sqrt()) / len(rate)
    )
    return _exp(float(rate.mean()), error, standard_error(rate))


def pooled(nll: Tensor, tokens: Tensor, variance: Tensor | None = None) -> Perplexity:
    """Return exp of the NLL of all documents over all their tokens; see ``per_document``."""
    documents = len(nll)
    all_tokens = float(tokens.double().sum())
    rate = float(nll.double().sum()) / all_tokens
    error = None if variance is None else float(variance.double().sum().sqrt()) / all_tokens

    # ``rate`` is a ratio of two means. Its error is that of the mean residual, divided by the mean
    # number of tokens.
    residual = nll.double() - rate * tokens
    case_error = (
        math.sqrt(float((residual**2).sum()) * documents / (documents - 1)) / all_tokens
        if documents > 1
        else None
    )
    return _exp(rate, error, case_error)


def _exp(rate: float, error: float | None, case_error: float | None) -> Perplexity:
    value = exp(rate)
    errors = [None if e is None else value * e for e in (error, case_error)]
    return Perplexity(value, *errors)
