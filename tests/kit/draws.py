"""Random numbers by a seed, and tensors of given numbers, in float64 by default."""

from __future__ import annotations

import torch


def normal(*shape, seed=0, scale=1.0, dtype=torch.float64):
    """N(0, scale^2)."""
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def uniform(*shape, seed=0, dtype=torch.float64):
    """In [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def f64(*values):
    """A vector of these numbers."""
    return torch.tensor(values, dtype=torch.float64)
