"""The posterior q(z | x) of a batch of examples, which every measure samples: the encoder's, or a refined one.

A model makes one by its method ``posterior`` (``models.base``); a refined posterior is a ``Gaussian`` as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from vaebench.dists import gaussian

Noise = dict[str, Tensor]
"""Name -> noise of the shape that the model declares."""


class Posterior(ABC):
    """q(z | x) of a batch of examples: normalised, and sampled at once."""

    @abstractmethod
    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        """k samples for each example: layers (k, batch, n), by the noise that the model's ``posterior_noise`` names."""

    @abstractmethod
    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """log q of each layer given the one below, or of all in one term, each (k, batch), nats."""

    def log_prob(self, z: Sequence[Tensor]) -> Tensor:
        """log q(z | x), (k, batch), nats."""
        return total(self.log_prob_terms(z))


class Gaussian(Posterior):
    """A diagonal Gaussian over one layer, with z ~ N(0, I) as the prior.

    Args:
        mean: (batch, n).
        log_var: Its log-variance, (batch, n).
    """

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        self.mean = mean
        self.log_var = log_var

    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        """Through samples gradients pass to mean and variance. Noise ``q1``: standard normals (k, batch, n)."""
        return [gaussian.sample(self.mean, 0.5 * self.log_var, noise["q1"])]

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """[log q(z | x)], (k, batch), nats."""
        return [gaussian.log_prob(z[0], self.mean, 0.5 * self.log_var)]

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)), exact, (batch,), nats."""
        return gaussian.kl_standard(self.mean, self.log_var)

    def double(self) -> Gaussian:
        """The same in float64."""
        return Gaussian(self.mean.double(), self.log_var.double())


def log_standard(z: Tensor) -> Tensor:
    """log N(z; 0, I), (...), nats, for ``z`` (..., n)."""
    zero = torch.zeros((), dtype=z.dtype, device=z.device)
    return gaussian.log_prob(z, zero, zero)


def total(terms: list[Tensor]) -> Tensor:
    """The sum of the terms of a log-density."""
    return terms[0] if len(terms) == 1 else sum(terms)
