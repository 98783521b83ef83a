"""A model made by hand whose images are known: pixel i is 1 if latent i is positive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.models.base import BinaryVisibles, GaussianPosterior, Moments, Noise
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import FAMILIES

STEEP = 1e4
"""A latent of 0.01 decides its pixel."""


class Signs(GaussianPosterior, BinaryVisibles):
    """Images of 2x2 pixels with a latent for each pixel.

    The posterior mean of a latent is ``scale`` if its pixel is 1, else -``scale``.
    """

    facts = FAMILIES["image_vae"]

    def __init__(
        self, scale: Sequence[float] = (1.0, 1.0, 1.0, 1.0), log_var: float = -12.0
    ) -> None:
        super().__init__(DataInfo(torch.full((4,), 0.5).numpy(), shape=(2, 2)), [4])
        self.p = nn.ParameterDict({"steep": torch.tensor(STEEP)})
        self.q = nn.ParameterDict({"scale": torch.tensor(scale)})
        self.log_var = log_var
        self.requires_grad_(False)

    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        mean = (2 * x - 1) * self.q["scale"]
        return mean, torch.full_like(mean, self.log_var)

    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        return bernoulli.log_prob(x, self.p["steep"] * z[0])

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        return bernoulli.sample(self.p["steep"] * z[0], uniform)
