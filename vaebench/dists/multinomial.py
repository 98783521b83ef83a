"""Tokens drawn independently from one distribution over a vocabulary: documents as word counts."""

from __future__ import annotations

import torch
from torch import Tensor


def log_prob(counts: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probability of a sequence of tokens with these counts, nats.

    It is sum_w n_w log softmax(logits)_w, the same for every order of the tokens. There is no
    multinomial coefficient, because perplexities are computed without it.

    Args:
        counts: How often each word occurs, (..., V).
        logits: Logits of the words, (..., V). Both arguments broadcast.

    Returns:
        The log-probabilities, (...).
    """
    tokens = counts.sum(-1)
    return (counts * logits).sum(-1) - tokens * torch.logsumexp(logits, -1)


def sample(logits: Tensor, uniform: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Draw tokens from softmax(logits) by inverting its distribution function; return their counts.

    No gradient passes.

    Args:
        logits: Logits of the words, (..., V).
        uniform: A number on [0, 1) for each token, (..., T).
        tokens: How many of the T tokens are drawn, (...), whole numbers up to T; None: all.

    Returns:
        Counts (..., V), in the dtype of the logits.
    """
    # Float64, because vocabularies have thousands of words, whose small probabilities add up. The
    # noise is scaled by the last sum, which rounding leaves near 1.
    cumulative = torch.softmax(logits.detach().double(), -1).cumsum(-1)
    cumulative = cumulative.expand(*uniform.shape[:-1], cumulative.shape[-1]).contiguous()
    words = torch.searchsorted(cumulative, uniform.double() * cumulative[..., -1:], right=True)
    # A product may be rounded up to the whole mass.
    words = words.clamp(max=cumulative.shape[-1] - 1)

    # All T tokens are drawn; those beyond a document's own number count 0.
    drawn = torch.ones_like(uniform, dtype=logits.dtype)
    if tokens is not None:
        position = torch.arange(uniform.shape[-1], device=uniform.device)
        drawn = drawn * (position < tokens.unsqueeze(-1))
    return torch.zeros_like(cumulative, dtype=logits.dtype).scatter_add(-1, words, drawn)
