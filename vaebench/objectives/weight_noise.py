"""Adaptive weight noise: a Gaussian over every parameter, learnt with its mean (Graves 2011).

The posterior of the parameters is Q = prod_i N(mu_i, sigma_i^2), where mu_i is what the model calls
the parameter. All have one prior N(m, s^2), with the m and s at which KL(Q || prior) is least. An
update draws one set of parameters for its whole batch, and minimises

    E_Q[loss of a training example] + KL(Q || prior) / training examples.

So sigma grows where a parameter matters little, and the noise takes away what it might have learnt
of single examples. Models are validated and evaluated at the means. Graves (2013, Generating
Sequences With Recurrent Neural Networks) adds the noise to nets that were trained without.

Some parameters do not matter at all, such as the unused half of triangular connections. Their
Gaussians become the prior, and cost nothing.

Reference: Graves 2011, Practical Variational Inference for Neural Networks, section 4.2. Graves
takes the gradient of sigma from the squared gradient of the loss. Here it passes through the drawn
parameters, which needs no approximation (Blundell et al. 2015, Weight Uncertainty in Neural
Networks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.models.base import Model
from vaebench.models.posterior import Noise, total
from vaebench.nn.lending import lent, places_of
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

AT_ONCE = 20_000_000
"""Most numbers of noise that are drawn at once for a seed."""

RANGE = (1e-6, 10.0)
"""First standard deviations with which a training can begin."""


class WeightNoise(nn.Module):
    """Standard deviations of a model's parameters. The model itself is not held here.

    Args:
        model: The model whose parameters are the means.
        sigma: Standard deviation of every parameter at the start.

    Raises:
        UserError: If ``sigma`` is not a number of RANGE.
    """

    def __init__(self, model: Model, sigma: float) -> None:
        super().__init__()
        self.first = validate.positive("objective.weight_noise", sigma)
        if not RANGE[0] <= self.first <= RANGE[1]:
            raise UserError(
                f"objective.weight_noise={sigma}: allowed: 0, or a number from {RANGE[0]:g} to "
                f"{RANGE[1]:g}"
            )
        self.log_sigma = nn.ParameterList(torch.zeros_like(p) for p in model.parameters())

    def start(self, generator: torch.Generator) -> None:
        """Give every parameter the standard deviation of the start."""
        for p in self.log_sigma:
            p.fill_(math.log(self.first))

    @property
    def block(self) -> int:
        """How many updates have their noise drawn at once."""
        return max(1, min(100, AT_ONCE // sum(p.numel() for p in self.log_sigma)))

    def draws(self) -> Shapes:
        """Return the noise of one set of parameters: standard normal numbers for each."""
        return {_name(i): ("normal", tuple(p.shape)) for i, p in enumerate(self.log_sigma)}

    def on(
        self, model: Model, noise: Noise, scale: Tensor | None = None
    ) -> AbstractContextManager[None]:
        """Let ``model`` have drawn parameters, mu + scale sigma epsilon, within a block.

        Args:
            model: The model given to the constructor.
            noise: What ``draws`` asks for.
            scale: (), a factor of the noise; None: 1.
        """
        # ``log_sigma`` has the order of the model's parameters, so the i-th noise, mean and sigma
        # belong together.
        places = places_of(model)
        sigmas = [v.exp() if scale is None else scale * v.exp() for v in self.log_sigma]
        drawn = {
            name: torch.addcmul(mean, sigma, noise[_name(i)])
            for i, ((name, mean), sigma) in enumerate(
                zip(model.named_parameters(), sigmas, strict=True)
            )
        }
        return lent(places, drawn)

    def cost(self, model: Model) -> Tensor:
        """Return KL(Q || prior) of all parameters of ``model``, (), nats."""
        return least_kl(list(model.parameters()), list(self.log_sigma))


def least_kl(means: Sequence[Tensor], log_sigmas: Sequence[Tensor]) -> Tensor:
    """Return min over m and s of sum_i KL(N(mean_i, sigma_i^2) || N(m, s^2)), (), nats.

    It is reached at the mean m of the means, and at s^2 = mean of (mean_i - m)^2 + sigma_i^2
    (Graves 2011, section 4.2). There the quadratic terms cancel.

    Args:
        means: Means, tensors of any shapes.
        log_sigmas: Logarithms of the standard deviations, of the same shapes.
    """
    # The best m and s^2.
    count = sum(v.numel() for v in means)
    prior_mean = total([v.sum() for v in means]) / count
    squares = [(v - prior_mean).square().sum() for v in means]
    variances = [(2 * v).exp().sum() for v in log_sigmas]
    prior_variance = total(squares + variances) / count

    # sum_i log(s / sigma_i): all that is left of the KL.
    return 0.5 * count * prior_variance.log() - total([v.sum() for v in log_sigmas])


def _name(i: int) -> str:
    """Return the name of the noise of the i-th parameter."""
    return f"weight{i}"
