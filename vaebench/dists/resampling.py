"""Weighted samples made equal ones."""

from __future__ import annotations

import torch
from torch import Tensor


def parents(log_w: Tensor, u: Tensor) -> Tensor:
    """Systematic resampling.

    The chain that each of R chains is to copy, (..., R) int64 in ascending order. ``log_w``
    (..., R) up to a constant, ``u`` (..., 1) uniform on [0, 1). With E = R w / sum w a chain gets E
    copies on average, floor(E) or ceil(E) of them; so does any run of neighbours, which copies of
    one chain always are. Equal weights leave every chain where it is, whatever ``u``.
    """
    count = log_w.shape[-1]
    w = torch.exp(log_w - log_w.amax(-1, keepdim=True)).double()
    edges = w.cumsum(-1)
    edges = edges * (count / edges[..., -1:])
    # The last edge is R only to rounding, and nowhere where training diverged: no
    # chain beyond the last.
    places = torch.arange(count, device=u.device) + u.double()
    return torch.searchsorted(edges, places, right=True).clamp(max=count - 1)
