"""Tokens that are drawn alike from one distribution over a vocabulary.

A document as counts of its words.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_prob(counts: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of a sequence of tokens with these counts, nats.

    It is sum_w n_w log softmax(logits)_w. It is that of every order of the tokens, so there is no
    multinomial coefficient: what perplexity is made of.

    Args:
        counts: How often each word occurs, (..., V).
        logits: Of the words, (..., V); both broadcast.

    Returns:
        (...).
    """
    tokens = counts.sum(-1)
    return (counts * logits).sum(-1) - tokens * torch.logsumexp(logits, -1)


def sample(logits: Tensor, uniform: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Counts of tokens that are drawn from softmax(logits), by inverting its distribution function.

    No gradient passes.

    Args:
        logits: (..., V).
        uniform: A number on [0, 1) for each token, (..., T).
        tokens: How many of the T are drawn, (...), whole numbers up to T; None: all.

    Returns:
        (..., V), in the dtype of the logits.
    """
    mass = torch.softmax(logits.detach().double(), -1).cumsum(-1)
    mass = mass.expand(*uniform.shape[:-1], mass.shape[-1]).contiguous()
    words = torch.searchsorted(mass, uniform.double() * mass[..., -1:], right=True)
    words = words.clamp(max=mass.shape[-1] - 1)  # a product may be rounded up to the whole mass

    drawn = torch.ones_like(uniform, dtype=logits.dtype)
    if tokens is not None:
        places = torch.arange(uniform.shape[-1], device=uniform.device)
        drawn = drawn * (places < tokens.unsqueeze(-1))
    return torch.zeros_like(mass, dtype=logits.dtype).scatter_add(-1, words, drawn)
