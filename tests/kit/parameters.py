"""Parameters of tiny modules, and sets of named tensors."""

from __future__ import annotations

import torch


def drawn(module, scale, seed=0):
    """The module itself, every parameter N(0, scale^2), in the order of their names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in sorted(module.named_parameters()):
            p.normal_(0.0, scale, generator=generator)

    return module


def equal(a, b):
    """Whether two dictionaries have the same tensors by the same names, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
