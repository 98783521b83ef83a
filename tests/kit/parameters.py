"""Parameters of tiny modules, and sets of named tensors."""

from __future__ import annotations

import torch

from vaebench.check.tiny import fill


def drawn(module, scale, seed=0, generator=None):
    """The module itself, every parameter N(0, scale^2), in the order of their names.

    A ``generator`` takes the place of the seed, if more is drawn from it.
    """
    fill(module, scale, generator or torch.Generator().manual_seed(seed))
    return module


def equal(a, b):
    """Whether two dictionaries have the same tensors by the same names, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
