"""Hidden units that see more of an example pixel by pixel, by a running sum.

The network of a NADE.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vaebench import kernels

PIXELS = 32
"""Pixels whose hidden units are in memory at once."""


def logits(x: Tensor, weight: Tensor, hidden: Tensor, output: Tensor) -> Tensor:
    """output_d . sigmoid(hidden + sum_{e<d} x_e weight_e) for every pixel d.

    Differentiable in the weights. The hidden units of ``PIXELS`` pixels are in memory at once, in a
    backward pass too, which computes them again.

    Args:
        x: Examples, (batch, d).
        weight: (d, units).
        hidden: (units,).
        output: (d, units).

    Returns:
        (batch, d).
    """
    if _has_kernel(x, weight, hidden, output):
        from vaebench.kernels import nade

        return nade.logits(x, weight, hidden, output)

    again = torch.is_grad_enabled() and not _mapped(weight)
    found = []
    before = hidden.expand(len(x), -1)
    for start in range(0, x.shape[1], PIXELS):
        part = slice(start, start + PIXELS)
        inputs = (x[:, part], weight[part], before, output[part])
        found.append(checkpoint(_block, *inputs, use_reentrant=False) if again else _block(*inputs))
        before = before + x[:, part] @ weight[part]
    return torch.cat(found, -1)


def _block(x: Tensor, weight: Tensor, before: Tensor, output: Tensor) -> Tensor:
    """The logits of a few pixels.

    ``before`` (batch, units) are the sums of all pixels before them.
    """
    terms = x.unsqueeze(-1) * weight
    sums = before.unsqueeze(1) + terms.cumsum(1) - terms
    return (torch.sigmoid(sums) * output).sum(-1)


def _has_kernel(x: Tensor, *parameters: Tensor) -> bool:
    """Whether loops of our own can be taken: they give no gradient of ``x``."""
    tracked = torch.is_grad_enabled() and x.requires_grad
    return kernels.allowed() and not tracked and all(kernels.plain(v) for v in (x, *parameters))


def _mapped(v: Tensor) -> bool:
    """Whether torch.func maps or differentiates, where nothing can be computed again."""
    return torch._C._functorch.is_functorch_wrapped_tensor(v)
