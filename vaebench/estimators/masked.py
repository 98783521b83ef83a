"""The order-agnostic bound: the mean of log p(x) over all orders of the pixels.

It is estimated from random masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.models.base import Model
from vaebench.models.eonade import EoNADE, mask_noise, observed
from vaebench.rng import noise

CASES = 500
"""Examples that are scored at once; their noise comes from one generator."""


@torch.no_grad()
def masked_nll(model: Model, x: Tensor, samples: int, seed: int, purpose: str) -> float:
    """Return the mean over examples of -log p(x), averaged over orders, by random masks.

    It is in positive nats. By Jensen's inequality it is an upper bound of the NLL of every
    ensemble, on average over ensembles.

    Args:
        model: The model.
        x: Examples, (n, d), of any type.
        samples: Masks of every example.
        seed: Seed of the noise.
        purpose: Purpose of the noise.

    Raises:
        TypeError: For a model that does not know p(x_i | x_o) for every set o of observed pixels.
    """
    if not isinstance(model, EoNADE):
        raise TypeError(f"{type(model).__name__} has no likelihood of masked examples")

    d = model.sizes[0]
    log_p_sum = 0.0
    for start in range(0, len(x), CASES):
        group = x[start : start + CASES].to(model.mean.dtype)
        for sample in range(samples):
            draws = noise.fixed(
                mask_noise(len(group), d), seed, purpose, start // CASES, sample, device=x.device
            )
            log_p = model.order_agnostic(group, observed(draws).to(group.dtype))
            log_p_sum += float(log_p.sum(dtype=torch.float64))

    return -log_p_sum / (len(x) * samples)
