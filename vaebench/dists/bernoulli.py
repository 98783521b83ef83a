"""Independent Bernoulli units, given by their logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.rng.noise import inside


def log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x), nats, summed over the last axis.

    ``x``, of zeros and ones, and ``logits`` broadcast to (..., n).
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats, summed over the last axis: (..., n) -> (...)."""
    # log p(x) is linear in x, so its expectation is its value at the mean.
    return -log_prob(torch.sigmoid(logits), logits)


def sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return zeros and ones from noise uniform on (0, 1), with P(1) = sigmoid(logits).

    No gradient passes. A zero in the noise becomes a tiny positive number
    (``noise.inside``).
    """
    return (inside(uniform) < torch.sigmoid(logits.detach())).to(logits.dtype)
