"""Dirichlet distributions, given by their positive parameters (..., k)."""

from __future__ import annotations

import torch
from torch import Tensor


def expected_log(parameters: Tensor) -> Tensor:
    """Return E[log theta] under Dir(parameters), (..., k)."""
    return torch.digamma(parameters) - torch.digamma(parameters.sum(-1, keepdim=True))


def kl(parameters: Tensor, prior: float) -> Tensor:
    """Return KL(Dir(parameters) || Dir(prior, ..., prior)), (...), nats."""
    k = parameters.shape[-1]

    # The log-normalisers of both densities; the rest of log q - log p is linear in log theta.
    log_q = torch.lgamma(parameters.sum(-1)) - torch.lgamma(parameters).sum(-1)
    prior_parameter = torch.as_tensor(prior, dtype=parameters.dtype, device=parameters.device)
    log_p = torch.lgamma(k * prior_parameter) - k * torch.lgamma(prior_parameter)
    return log_q - log_p + ((parameters - prior) * expected_log(parameters)).sum(-1)
