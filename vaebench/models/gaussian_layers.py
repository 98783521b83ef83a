"""What models of bits with several layers of Gaussian latents share: noise and samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.models.base import Ancestral, BinaryVisibles, MeanVisibles, SampledPosterior
from vaebench.models.posterior import Noise, Posterior
from vaebench.models.visible_bias import VisibleBias
from vaebench.rng.noise import Shapes


class GaussianLayersModel(VisibleBias, SampledPosterior, Ancestral, BinaryVisibles, MeanVisibles):
    """A model of bits whose latents are Gaussian layers z_1, ..., z_L.

    Each latent is sampled by one standard normal.
    """

    reparameterised = True

    @abstractmethod
    def logits(self, z: Sequence[Tensor]) -> Tensor:
        """Return the logits of p(x | z), (k, batch, d), for layers ``z`` (k, batch, n).

        The layer next to the data comes first.
        """

    @abstractmethod
    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z | x) of the examples ``x`` (batch, d)."""

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``.

        Standard normals (k, batch, n) for each layer.
        """
        return {f"q{i}": ("normal", (k, batch, n)) for i, n in enumerate(self.sizes[1:], 1)}

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k reparameterised samples of q(z | x).

        Returns layers (k, batch, n), the one next to the data first.
        """
        return self.posterior(x).sample(k, noise)

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return log q of each layer, given those below if it depends on them.

        The terms are (k, batch) each, nats.
        """
        return self.posterior(x).log_prob_terms(z)

    def visible_mean(self, z: Sequence[Tensor]) -> Tensor:
        """Return E[x | z], (k, batch, d), numbers in (0, 1)."""
        return torch.sigmoid(self.logits(z))

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | z), bits of the shape of ``uniform`` (k, batch, d)."""
        return bernoulli.sample(self.logits(z), uniform)

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``.

        Uniforms (batch, d), and standard normals (batch, n) for each layer.
        """
        normals = {f"p{i}": ("normal", (batch, n)) for i, n in enumerate(self.sizes[1:], 1)}
        return {"p0": ("uniform", (batch, self.sizes[0])), **normals}
