"""The posterior q(z | x) of a batch of examples, which every measure samples.

A model returns it from its method ``posterior`` (``models.base``). It is the encoder's, or a
refined one, which is a ``Gaussian`` too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.dists import gaussian, precision_gaussian

Noise = dict[str, Tensor]
"""Name -> noise of the shape that the model declares."""


class Posterior(ABC):
    """q(z | x) of a batch of examples: normalised, and sampled without a chain."""

    @abstractmethod
    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples for each example.

        Returns layers (k, batch, n). The model's ``posterior_noise`` declares the noise.
        """

    @abstractmethod
    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log q of each layer given the one below, or of all layers as one term.

        The terms are (k, batch) each, nats.
        """

    def log_prob(self, z: Sequence[Tensor]) -> Tensor:
        """Return log q(z | x), (k, batch), nats."""
        return total(self.log_prob_terms(z))

    def exact_kl(self) -> list[Tensor] | None:
        """Return the KL of each layer to the prior, (batch,) each, nats.

        None if it is not known without samples.
        """
        return None


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
        """Draw k samples, through which gradients pass to mean and variance.

        Noise ``q1``: standard normals (k, batch, n).
        """
        return [gaussian.sample(self.mean, 0.5 * self.log_var, noise["q1"])]

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """Return [log q(z | x)], (k, batch), nats."""
        return [gaussian.log_prob(z[0], self.mean, 0.5 * self.log_var)]

    def kl(self) -> Tensor:
        """Return KL(q(z | x) || N(0, I)), exact, (batch,), nats."""
        return gaussian.kl_standard(self.mean, self.log_var)

    def exact_kl(self) -> list[Tensor]:
        """Return [``kl``], computed in float64."""
        return [gaussian.kl_standard(self.mean.double(), self.log_var.double())]


class Layer(NamedTuple):
    """The Gaussian of one layer, with the precision D + u u^T; each field is (batch, n).

    Attributes:
        mean: The mean.
        log_d: The logarithm of the diagonal of D.
        u: The vector u; None: the precision is diagonal.
    """

    mean: Tensor
    log_d: Tensor
    u: Tensor | None


class GaussianLayers(Posterior):
    """Independent Gaussians over several layers.

    Each has the prior N(0, I) and a precision D + u u^T.

    Args:
        layers: The Gaussians, that of the layer next to the data first.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    @property
    def mean(self) -> Tensor:
        """The mean of the layer next to the data, (batch, n)."""
        return self.layers[0].mean

    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples of each layer, through which gradients pass to all fields of the layer.

        Noise ``q1``, ``q2``, ...: standard normals (k, batch, n).
        """
        return [
            q.mean + precision_gaussian.transform(q.log_d, q.u, noise[f"q{i}"])
            for i, q in enumerate(self.layers, 1)
        ]

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log q of each layer, (k, batch), nats."""
        return [precision_gaussian.log_prob(v, *q) for v, q in zip(z, self.layers, strict=True)]

    def kl_terms(self) -> list[Tensor]:
        """Return the KL of each layer to N(0, I), exact, (batch,), nats; differentiable."""
        return [precision_gaussian.kl_standard(*q) for q in self.layers]

    def exact_kl(self) -> list[Tensor]:
        """Return ``kl_terms``, computed in float64."""
        doubles = [
            Layer(q.mean.double(), q.log_d.double(), None if q.u is None else q.u.double())
            for q in self.layers
        ]
        return GaussianLayers(doubles).kl_terms()


def log_standard(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), (...), nats, for ``z`` (..., n)."""
    zero = torch.zeros((), dtype=z.dtype, device=z.device)
    return gaussian.log_prob(z, zero, zero)


def total(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of the terms of a log-density."""
    return sum(terms[1:], start=terms[0])
