"""Diagonal Gaussians, given by mean and log standard deviation (the KL: by log variance)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_prob(x: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """Return log N(x; mean, exp(log_sd)^2), nats, summed over the last axis.

    The arguments broadcast to (..., n).
    """
    z = (x - mean) * torch.exp(-log_sd)
    return (-0.5 * z * z - log_sd - 0.5 * math.log(2 * math.pi)).sum(-1)


def sample(mean: Tensor, log_sd: Tensor, normal: Tensor) -> Tensor:
    """Return the reparameterised sample mean + sd * noise.

    The noise ``normal`` is standard normal and has the shape of the result.
    """
    return mean + torch.exp(log_sd) * normal


def kl_standard(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_var)) || N(0, I)), nats, summed over the last axis.

    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + torch.exp(log_var) - 1 - log_var).sum(-1)
