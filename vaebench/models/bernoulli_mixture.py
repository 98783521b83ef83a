"""A mixture of factorial Bernoullis, with its exact likelihood."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.models.base import Ancestral, ExactModel, Tiny
from vaebench.models.posterior import Noise
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class BernoulliMixture(ExactModel, Ancestral):
    """p(x) = sum_k w_k prod_i Bernoulli(x_i; mu_ki).

    ``p.logits`` (components, d) are the logits of mu; w is the softmax of ``p.log_weights``
    (components,).

    Args:
        info: What is known of the data.
        components: Number of components.

    Raises:
        UserError: If that is not a whole number from 1.
    """

    facts = FAMILIES["bernoulli_mixture"]
    tiny: ClassVar[Tiny] = {"mixture of 3 Bernoullis": {"components": 3}}
    SCORED: ClassVar[int] = 1000

    def __init__(self, info: DataInfo, components: int = 500) -> None:
        super().__init__(info)
        self.components = validate.whole("model.components", components)
        d = info.size
        self.p = nn.ParameterDict(
            {"logits": torch.zeros(components, d), "log_weights": torch.zeros(components)}
        )

    def log_joint(self, x: Tensor) -> Tensor:
        """Return log p(x, component), (batch, components), nats."""
        return log_joint(x, self.p["logits"], self.p["log_weights"])

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x), (batch,), nats, differentiable."""
        return torch.logsumexp(self.log_joint(x), -1)

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``.

        Uniforms (batch, 1) for the components and (batch, d) for the pixels.
        """
        return {"component": ("uniform", (batch, 1)), "p0": ("uniform", (batch, self.sizes[0]))}

    @torch.no_grad()
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples x (batch, d).

        No latents are returned: the components are summed out wherever p(x) is computed.
        """
        # Invert the distribution function: the component is the number of edges below the noise,
        # (batch,). The last edge may be rounded to less than 1.
        edges = torch.softmax(self.p["log_weights"], 0).cumsum(0)
        component = (noise["component"] > edges).sum(-1).clamp(max=self.components - 1)
        return bernoulli.sample(self.p["logits"][component], noise["p0"]), []


def log_joint(x: Tensor, logits: Tensor, log_weights: Tensor) -> Tensor:
    """Return log p(x, component) of a mixture, (batch, components), nats.

    Args:
        x: Examples, (batch, d).
        logits: Logits of the means, (components, d).
        log_weights: Logarithms of the weights, (components,), not normalised.
    """
    # log p(x | component) = x . logits - sum softplus(logits) is linear in x, so one matrix product
    # is enough for all components.
    constant = torch.log_softmax(log_weights, 0) - F.softplus(logits).sum(-1)
    return x @ logits.mT + constant
