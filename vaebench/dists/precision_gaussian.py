"""Gaussians whose precision is diagonal plus rank one, C^-1 = D + u u^T.

Rezende et al. 2014, section 4.2.

All costs O(n), by the matrix inversion and determinant lemmas. With s = u^T D^-1 u and
eta = 1 / (1 + s)

    C = D^-1 - eta D^-1 u u^T D^-1,   log|C| = log eta - sum log d,
    tr C = sum 1/d - eta sum u^2/d^2,
    R = D^-1/2 - eta / (1 + sqrt eta) D^-1 u u^T D^-1/2,   R R^T = C.

The factor in R equals the paper's (1 - sqrt eta) / s, but does not divide by s, which is 0 where u
is 0. Every function takes ``log_d`` and ``u`` (..., n): the logarithm of the diagonal of D, and the
vector. If ``u`` is None, the precision is D alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _eta(log_d: Tensor, u: Tensor) -> Tensor:
    """Return 1 / (1 + u^T D^-1 u), (..., 1)."""
    return 1 / (1 + (u.square() * torch.exp(-log_d)).sum(-1, keepdim=True))


def transform(log_d: Tensor, u: Tensor | None, normal: Tensor) -> Tensor:
    """Return R normal, (..., n), of covariance C for standard normals ``normal`` (..., n)."""
    scaled = normal * torch.exp(-0.5 * log_d)
    if u is None:
        return scaled

    # R n = D^-1/2 n - eta / (1 + sqrt eta) D^-1 u (u^T D^-1/2 n).
    eta = _eta(log_d, u)
    along = (u * scaled).sum(-1, keepdim=True)
    return scaled - eta / (1 + eta.sqrt()) * along * u * torch.exp(-log_d)


def log_det(log_d: Tensor, u: Tensor | None) -> Tensor:
    """Return log |C|, (...)."""
    if u is None:
        return -log_d.sum(-1)

    # log eta - sum log d, with log eta = -log(1 + s).
    return -torch.log1p((u.square() * torch.exp(-log_d)).sum(-1)) - log_d.sum(-1)


def trace(log_d: Tensor, u: Tensor | None) -> Tensor:
    """Return tr C, (...)."""
    inverse = torch.exp(-log_d)
    if u is None:
        return inverse.sum(-1)
    return (inverse - _eta(log_d, u) * (u * inverse).square()).sum(-1)


def log_prob(x: Tensor, mean: Tensor, log_d: Tensor, u: Tensor | None) -> Tensor:
    """Return log N(x; mean, C), nats, (...), for ``x`` and ``mean`` (..., n)."""
    # The quadratic form (x - m)^T (D + u u^T) (x - m): the rank-one part is a dot product.
    deviation = x - mean
    quadratic = (deviation.square() * torch.exp(log_d)).sum(-1)
    if u is not None:
        quadratic = quadratic + (deviation * u).sum(-1).square()
    return -0.5 * (quadratic + log_det(log_d, u) + x.shape[-1] * math.log(2 * math.pi))


def kl_standard(mean: Tensor, log_d: Tensor, u: Tensor | None) -> Tensor:
    """Return KL(N(mean, C) || N(0, I)), nats, (...) (equation 20)."""
    return 0.5 * (mean.square().sum(-1) + trace(log_d, u) - log_det(log_d, u) - mean.shape[-1])
