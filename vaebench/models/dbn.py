"""Deep belief nets of two layers (Hinton, Osindero & Teh 2006).

The top two layers h1 and h2 are a Boltzmann machine; the bits of the data are below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.dists.rbm import RBM, bits
from vaebench.errors import UserError
from vaebench.models.base import BinaryVisibles, BoltzmannPrior, SampledPosterior, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes


class DBN(BoltzmannPrior, SampledPosterior, BinaryVisibles):
    """p(x, h1, h2) = p(x | h1) exp(b1.h1 + b2.h2 + h1' U h2) / Z.

    p(x | h1) = Bernoulli(sigmoid(b + W h1)). The posterior is q(h1, h2 | x) = q(h1 | x) p(h2 | h1)
    with q(h1 | x) = Bernoulli(sigmoid(c + x' W)): both directions share the weights of the lower
    layer, which was trained as a Boltzmann machine. Since p(h2 | h1) is exact, the bound is that of
    h1 alone, E_q[log p(x, h1)] + H(q(h1 | x)).

    Args:
        info: What is known of the data.
        dims: Units of h1, next to the data, and of h2.

    Raises:
        UserError: If ``dims`` are not two numbers from 1.
    """

    facts = FAMILIES["dbn"]
    tiny: ClassVar[Tiny] = {"DBN 3-4": {"dims": [3, 4]}}

    def __init__(self, info: DataInfo, dims: Sequence[int]) -> None:
        if len(dims) != 2 or min(dims) < 1:
            raise UserError(
                f"model.dims={list(dims)}: allowed: two numbers of units, such as [500,2000]"
            )

        super().__init__(info, dims)
        d, n1, n2 = self.sizes
        self.p = nn.ParameterDict(
            {
                "visible": torch.zeros(d),
                "weight": torch.zeros(d, n1),
                "prior1": torch.zeros(n1),
                "prior2": torch.zeros(n2),
                "couplings": torch.zeros(n1, n2),
            }
        )
        self.q = nn.ParameterDict({"hidden": torch.zeros(n1)})

    def lower(self) -> RBM:
        """Return the Boltzmann machine over x and h1 as which the lower layer is trained."""
        return RBM(self.p["visible"], self.q["hidden"], self.p["weight"])

    def prior(self) -> RBM:
        """Return the Boltzmann machine over h1 and h2, unnormalised."""
        return RBM(self.p["prior1"], self.p["prior2"], self.p["couplings"])

    def decayed(self) -> list[Tensor]:
        """Return the weights and couplings: biases do not decay."""
        return [self.p["weight"], self.p["couplings"]]

    def sides(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the two layers."""
        h1, h2 = z
        return h1, h2

    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """Return the logits of p(x | h1), (k, batch, d)."""
        return nn.functional.linear(z[0], self.p["weight"], self.p["visible"])

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | h1), bits of the shape of ``uniform`` (k, batch, d)."""
        return bits(self.decode(z), uniform)

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log p(x | h1) and -E(h1, h2) = log p(h1, h2) + log Z, each (k, batch), nats."""
        return [bernoulli.log_prob(x, self.decode(z)), self.prior().negative_energy(*self.sides(z))]

    def encode(self, x: Tensor) -> Tensor:
        """Return the logits of q(h1 | x), (batch, n1)."""
        return self.lower().logits2(x)

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``: uniforms (k, batch, n) for each layer."""
        return {f"q{i}": ("uniform", (k, batch, n)) for i, n in enumerate(self.sizes[1:], start=1)}

    @torch.no_grad()
    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples: h1 (k, batch, n1) of q(h1 | x), h2 (k, batch, n2) of p(h2 | h1)."""
        # All k samples share q(h1 | x), but each has a p(h2 | h1) of its own.
        logits = self.encode(x)
        h1 = bits(logits.expand(k, *logits.shape), noise["q1"])
        return [h1, bits(self._above(h1), noise["q2"])]

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return [log q(h1 | x) + log p(h2 | h1)], (k, batch), nats: one term, like the prior."""
        h1, h2 = z
        return [bernoulli.log_prob(h1, self.encode(x)) + bernoulli.log_prob(h2, self._above(h1))]

    def _above(self, h1: Tensor) -> Tensor:
        """Return the logits of p(h2 | h1), (k, batch, n2)."""
        return nn.functional.linear(h1, self.p["couplings"].mT, self.p["prior2"])
