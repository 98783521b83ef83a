"""log p(x) from samples of the posterior alone (Kingma & Welling 2014, appendix D).

    1 / p(x) = E_p(z | x) [ q(z) / p(x, z) ]   for any density q that is 0 where p(x, z) is.

The samples come from Hamiltonian Monte Carlo. q is a Gaussian fitted to a first part of them, and
the mean is over a second part. This works for a few latents, below five or so. It is not a safe
bound. Minus the logarithm of a mean is, in expectation, above log p(x) whatever q is; it is far
above if q is wider than the posterior and few samples meet the large terms. A chain that stays in
one of several modes has the opposite effect: log p(x) is too low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.dists import hmc
from vaebench.models.base import SampledPosterior
from vaebench.rng import noise
from vaebench.work.steps import tick

CASES = 100
"""Examples whose noise comes from one generator, so that no result depends on which others are
measured."""

BURN_IN = 100
"""Transitions before the first sample; they tune the step size of every chain."""

SPREAD = 0.5
"""Relative range of a chain's step sizes around the tuned one; each transition draws a new one."""

JITTER = 1e-6
"""Added to the fitted variances, relative to their mean, so that samples of a chain that hardly
moves still have a density."""


@dataclass(frozen=True)
class Chains:
    """How the posterior is sampled.

    A transition has ``leaps`` leapfrog steps, tuned for the rate ``acceptance``. ``samples`` are
    drawn for the fit, then as many for the mean.
    """

    samples: int = 50
    leaps: int = 4
    acceptance: float = 0.9


@torch.no_grad()
def log_evidence(
    model: SampledPosterior, x: Tensor, seed: int, how: Chains = Chains()
) -> tuple[Tensor, Tensor]:
    """Return the estimate of log p(x) of every example, and the acceptance rate of its chain.

    Both are (n,), float64; the estimate is in nats.

    Args:
        model: A model with one layer of real latents.
        x: Examples (n, d).
        seed: Seed of the chains.
        how: Settings of the chains.
    """
    by_group = []
    for number, group in enumerate(x.split(CASES)):
        by_group.append(_some(model, group.to(model.mean.dtype), seed, number, how))

    values, accepted = zip(*by_group, strict=True)
    return torch.cat(values), torch.cat(accepted)


def _some(
    model: SampledPosterior, x: Tensor, seed: int, number: int, how: Chains
) -> tuple[Tensor, Tensor]:
    """Return what ``log_evidence`` does, for the ``number``-th group of CASES examples."""
    batch = len(x)
    latents = model.sizes[1]

    # z is (batch, n); the model takes layers with an axis of samples in front.
    density = lambda z: model.log_joint(x, [z.unsqueeze(0)])[0]  # noqa: E731

    def noise_of(t: int) -> dict[str, Tensor]:
        shapes = {
            "p": ("normal", (CASES, latents)),
            "u": ("uniform", (CASES,)),
            "length": ("uniform", (CASES, 1)),
        }
        draws = noise.fixed(shapes, seed, "hmc", number, t, device=x.device)
        return {name: v[:batch].to(x.dtype) for name, v in draws.items()}

    # Every chain begins at a sample of the model's approximate posterior. Noise is drawn for a
    # whole group and cut, so that a short last group has the same.
    posterior_noise = noise.fixed(
        model.posterior_noise(1, CASES), seed, "hmc", number, device=x.device
    )
    z = model.sample_posterior(
        x, 1, {k: v[:, :batch].to(x.dtype) for k, v in posterior_noise.items()}
    )[0][0]

    step = torch.full((batch, 1), 0.2, dtype=x.dtype, device=x.device)
    samples = []
    acceptance = []
    for t in range(BURN_IN + 2 * how.samples):
        tick()
        noises = noise_of(t)

        # If all trajectories had one length, they might return to their start again and again.
        varied = step * (1 + SPREAD * (2 * noises["length"] - 1))
        z, probability = hmc.transition(density, z, varied, how.leaps, noises["p"], noises["u"])

        # The step size follows the acceptance rate ever more slowly, and is fixed from the first
        # sample on.
        if t < BURN_IN:
            speed = 1 / math.sqrt(t + 1)
            step = hmc.tuned(step, probability.unsqueeze(-1), how.acceptance, speed)
        else:
            samples.append(z)
            acceptance.append(probability)

    # q is fitted to samples that the mean does not use: log 1 / p^(x) is the log of the mean of
    # q(z) / p(x, z) over the second part.
    first_part, second_part = torch.stack(samples).double().split(how.samples)
    q = fitted(first_part)
    log_joint = model.log_joint(x, [second_part.to(x.dtype)]).double()
    terms = q.log_prob(second_part) - log_joint
    value = math.log(how.samples) - torch.logsumexp(terms, 0)
    return value, torch.stack(acceptance).double().mean(0)


def fitted(samples: Tensor) -> torch.distributions.MultivariateNormal:
    """Return Gaussians with the mean and covariance of ``samples`` (k, batch, n), per example."""
    mean = samples.mean(0)
    deviation = (samples - mean).transpose(0, 1)
    covariance = deviation.mT @ deviation / (len(samples) - 1)

    # A chain that hardly moves has a singular covariance; the jitter is relative to its variances.
    latents = samples.shape[-1]
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-30)
    jitter = (
        JITTER
        * scale[:, None, None]
        * torch.eye(latents, dtype=samples.dtype, device=samples.device)
    )
    return torch.distributions.MultivariateNormal(mean, covariance + jitter, validate_args=False)
