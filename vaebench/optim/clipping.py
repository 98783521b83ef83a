"""One clip over all gradients, of each packed seed or of a single batch."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to a norm before the clip is divided by it, as PyTorch's clip_grad_norm_ does."""


def joint_scale(grads: list[Tensor], clip: float | None) -> Tensor:
    """Return the factors, (seeds,), that bring each seed's joint gradient norm to ``clip`` at most.

    Args:
        grads: Gradients, (seeds, ...) each; the norm of a seed is over all of them.
        clip: The largest norm; None: no limit, the factors are 1.
    """
    seeds = grads[0].shape[0]
    if clip is None:
        return torch.ones(seeds, dtype=grads[0].dtype, device=grads[0].device)

    # The joint norm is the norm of the tensors' norms.
    norm = torch.stack(
        [torch.linalg.vector_norm(g.reshape(seeds, -1), dim=1) for g in grads],
    ).norm(dim=0)
    return torch.clamp(clip / (norm + EPSILON), max=1.0)


def clipped_jointly(tensors: list[Tensor], clip: float | None) -> list[Tensor]:
    """Scale gradients of any shapes to a joint norm of at most ``clip``; None: no limit."""
    if clip is None:
        return tensors
    scale = joint_scale([v.unsqueeze(0) for v in tensors], clip)[0]
    return [v * scale for v in tensors]
