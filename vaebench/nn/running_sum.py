"""The network of a NADE: a running sum lets its hidden units see one more pixel at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vaebench import kernels

PIXELS = 32
"""Number of pixels whose hidden units are in memory at once."""


def logits(x: Tensor, weight: Tensor, hidden: Tensor, output: Tensor) -> Tensor:
    """Return output_d . sigmoid(hidden + sum_{e<d} x_e weight_e) for every pixel d.

    The result is differentiable in the weights. Only the hidden units of ``PIXELS`` pixels are in
    memory at once. A backward pass computes them again.

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

    recompute = torch.is_grad_enabled() and not _mapped(weight)
    blocks = []

    # Input of the hidden units from their biases and all pixels before the block, (batch, units).
    before = hidden.expand(len(x), -1)
    for start in range(0, x.shape[1], PIXELS):
        part = slice(start, start + PIXELS)
        inputs = (x[:, part], weight[part], before, output[part])
        blocks.append(
            checkpoint(_block, *inputs, use_reentrant=False) if recompute else _block(*inputs)
        )
        before = before + x[:, part] @ weight[part]

    return torch.cat(blocks, -1)


def _block(x: Tensor, weight: Tensor, before: Tensor, output: Tensor) -> Tensor:
    """Return the logits of a few pixels.

    Args:
        x: These pixels, (batch, pixels).
        weight: (pixels, units).
        before: Sums over all pixels before them, (batch, units).
        output: (pixels, units).
    """
    # (batch, pixels, units). Less its own term, the running sum is over e < d.
    terms = x.unsqueeze(-1) * weight
    sums = before.unsqueeze(1) + terms.cumsum(1) - terms
    return (torch.sigmoid(sums) * output).sum(-1)


def _has_kernel(x: Tensor, *parameters: Tensor) -> bool:
    """Whether loops of our own can be taken; they have no gradient of ``x``."""
    tracked = torch.is_grad_enabled() and x.requires_grad
    return kernels.allowed() and not tracked and all(kernels.plain(v) for v in (x, *parameters))


def _mapped(v: Tensor) -> bool:
    """Whether torch.func maps or differentiates ``v``; blocks cannot be computed again then."""
    return torch._C._functorch.is_functorch_wrapped_tensor(v)
