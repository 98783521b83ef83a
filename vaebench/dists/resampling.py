"""Resampling: weighted samples become samples of equal weight."""

from __future__ import annotations

import torch
from torch import Tensor


def parents(log_w: Tensor, u: Tensor) -> Tensor:
    """Return the chain that each of R chains is to copy, by systematic resampling.

    ``log_w`` (..., R) are log-weights up to a constant, ``u`` (..., 1) is uniform on [0, 1). The
    result is (..., R) int64 in ascending order. With E = R w / sum w, a chain gets E copies on
    average, and floor(E) or ceil(E) of them. The same holds for any run of neighbouring chains,
    and the copies of one chain are always neighbours. Equal weights leave every chain where it is,
    whatever ``u``.
    """
    chains = log_w.shape[-1]

    # Cumulative expected numbers of copies, up to R. R evenly spaced points with one common
    # offset u each choose the chain in whose interval they fall.
    w = torch.exp(log_w - log_w.amax(-1, keepdim=True)).double()
    edges = w.cumsum(-1)
    edges = edges * (chains / edges[..., -1:])

    # Rounding may leave the last edge below R, and if training diverged it is NaN: never pick a
    # chain beyond the last.
    points = torch.arange(chains, device=u.device) + u.double()
    return torch.searchsorted(edges, points, right=True).clamp(max=chains - 1)
