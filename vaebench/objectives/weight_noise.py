"""Adaptive weight noise: a Gaussian over every parameter, learnt with its mean (Graves 2011).

The posterior of the parameters is Q = prod_i N(mu_i, sigma_i^2), where mu_i is what the model calls
the parameter. Each parameter tensor has a prior N(m, s^2) of its own, with the m and s at which
KL(Q || prior) is least. An update draws one set of parameters for its whole batch, and minimises

    E_Q[loss of a training case] + KL(Q || prior) / training cases.

So sigma grows where a parameter matters little, and the noise takes away what it might have learnt
of single cases. Models are validated and evaluated at the means. Graves (2013, Generating Sequences
With Recurrent Neural Networks) adds the noise to nets that were trained without.

Reference: Graves 2011, Practical Variational Inference for Neural Networks, section 4.2, with one
prior for each tensor instead of one for all. Graves takes the gradient of sigma from the squared
gradient of the loss. Here it passes through the drawn parameters, which needs no approximation
(Blundell et al. 2015, Weight Uncertainty in Neural Networks).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vaebench.models.base import Model
from vaebench.models.posterior import Noise, total
from vaebench.nn.lending import lent, places_of
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

AT_ONCE = 20_000_000
"""Most numbers of noise that are drawn at once for a seed."""


class WeightNoise(nn.Module):
    """Standard deviations of the parameters of a model, which it does not hold itself.

    Args:
        model: Its parameters are the means.
        sigma: Standard deviation of every parameter at the start.

    Raises:
        UserError: If ``sigma`` is not a finite number above 0.
    """

    def __init__(self, model: Model, sigma: float) -> None:
        super().__init__()
        self.first = validate.positive("objective.weight_noise", sigma)
        self.log_sigma = nn.ParameterList(torch.zeros_like(p) for p in model.parameters())

    def start(self, generator: torch.Generator) -> None:
        """Give every parameter the standard deviation of the start; nothing is drawn."""
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
            model: The one that was given at the start.
            noise: What ``draws`` asks for.
            scale: (), a factor of the noise; None: 1.
        """
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
        pairs = zip(model.parameters(), self.log_sigma, strict=True)
        return total([least_kl(mean, log_sigma) for mean, log_sigma in pairs])


def least_kl(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Return min over m and s of sum_i KL(N(mean_i, sigma_i^2) || N(m, s^2)), (), nats.

    It is reached at the mean m of the means, and at s^2 = mean of (mean_i - m)^2 + sigma_i^2
    (Graves 2011, section 4.2). There the quadratic terms cancel.

    Args:
        mean: Means, of any shape.
        log_sigma: Logarithms of the standard deviations, of the same shape.
    """
    spread = (mean - mean.mean()).square() + (2 * log_sigma).exp()
    return 0.5 * mean.numel() * spread.mean().log() - log_sigma.sum()


def _name(i: int) -> str:
    """Return the name of the noise of the i-th parameter."""
    return f"weight{i}"
