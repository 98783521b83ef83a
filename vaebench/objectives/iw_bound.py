"""Importance-weighted bound with reparameterised samples (Burda, Grosse & Salakhutdinov 2016).

With one sample it is the ELBO. With the average outside the logarithm it is the ELBO by K samples:
the VAE with which the paper compares its own rows.
"""

from __future__ import annotations

import math

import torch

from vaebench.models.base import Model, SampledPosterior
from vaebench.nn import batch_norm
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

AVERAGES = ("inside", "outside")


class IWBound(Objective):
    """Maximises log (1/K) sum_k P(x, z_k) / Q(z_k | x), z_k ~ Q(z | x), per example.

    There is no state.

    Args:
        model: A model through whose samples a gradient passes.
        samples: K, per example.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
        average: Whether the average over the K samples is ``inside`` the logarithm, or ``outside``:
            (1/K) sum_k log of the weights.

    Raises:
        UserError: For a bad setting.
    """

    tiny = ({"samples": 1}, {"samples": 3}, {"samples": 2, "average": "outside"})

    model: SampledPosterior

    def __init__(
        self,
        model: SampledPosterior,
        samples: int = 1,
        reduce: str = "mean",
        average: str = "inside",
    ) -> None:
        super().__init__()
        self.model = model
        self.samples = validate.whole("objective.samples", samples)
        self.reduce = reduction.check(reduce)
        self.inside = validate.one_of("objective.average", average, AVERAGES) == "inside"

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether a gradient passes through the samples of ``model``, without batch normalisation.

        With batch normalisation an example would depend on the rest of its batch.
        """
        return model.reparameterised and not batch_norm.layers(model)

    def noise(self, batch: int) -> Shapes:
        """Return the noise of K posterior samples per example."""
        return self.model.posterior_noise(self.samples, batch)

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        posterior = self.model.posterior(x)
        z = posterior.sample(self.samples, noise)
        log_w = self.model.log_joint(x, z) - posterior.log_prob(z)  # (samples, batch)

        # The gradient of logsumexp is sum_k w~_k grad log w_k with the normalised weights w~
        # (section 3 of the paper). It passes through z and through log q.
        bound = torch.logsumexp(log_w, 0) - math.log(self.samples) if self.inside else log_w.mean(0)
        return -reduction.over_cases(bound, self.reduce), state, {"bound": bound.detach().mean()}
