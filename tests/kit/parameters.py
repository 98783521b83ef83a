"""Parameters of tiny modules."""

from __future__ import annotations

import torch


def drawn(module, scale, seed=0):
    """The module itself, every parameter N(0, scale^2), in the order of their names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in sorted(module.named_parameters()):
            p.normal_(0.0, scale, generator=generator)
    return module
