"""log p(x) of models with real latents, by annealed importance sampling (Neal 2001).

The chains go from the prior to the posterior. Between them lie the densities p(z) p(x | z)^beta,
beta from 0 to 1, sampled by Hamiltonian Monte Carlo (Wu, Burda, Salakhutdinov & Grosse 2017). No
proposal can make the result too good. Forwards, the mean of the weights is p(x). Backwards, the
mean of their inverses is 1 / p(x), if the chain begins at an exact sample of the posterior; data
that the model made have one. So one direction gives a stochastic lower bound of log p(x), the other
an upper bound, and the two meet as temperatures and chains grow.

The integrator's step sizes are tuned beforehand in a run of their own, one for every example and
temperature. So the weights that count come from a fixed Markov chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.dists import hmc
from vaebench.models.base import Ancestral, LatentModel
from vaebench.rng import noise, seeds
from vaebench.work.steps import Box, steps

CASES = 50
"""Examples that are annealed together, so that no result depends on which others are measured; also
the number of examples that the model makes."""


class Dreaming(LatentModel, Ancestral):
    """A model of both kinds, for the type checker."""


@dataclass(frozen=True)
class Annealing:
    """Settings of the annealing from the prior to the posterior.

    There are ``temperatures`` steps and ``chains`` chains for each example. Each temperature has
    one transition of ``leaps`` leapfrog steps, tuned for the acceptance rate ``acceptance``.
    """

    temperatures: int = 1000
    chains: int = 16
    leaps: int = 5
    acceptance: float = 0.8

    def betas(self) -> list[float]:
        """Return the betas from 0 to 1, closer together at the ends: a sigmoid of even steps."""
        sigmoids = [
            1 / (1 + math.exp(4 * (1 - 2 * t / self.temperatures)))
            for t in range(self.temperatures + 1)
        ]

        # Scaled so that the ends are exactly 0 and 1.
        low = sigmoids[0]
        high = sigmoids[-1]
        return [(v - low) / (high - low) for v in sigmoids]


FIRST_STEP = 0.3
"""Step size at which tuning begins."""

SPEED = 0.1
"""How fast tuning follows the acceptance rate of an example's chains."""


class Target:
    """p(z) p(x | z)^beta of the examples ``x`` (batch, d).

    All layers of z are side by side, (chains, batch, n).
    """

    def __init__(self, model: LatentModel, x: Tensor) -> None:
        self.model = model
        self.x = x
        self.sizes = model.sizes[1:]

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and log p(z), (chains, batch) each, nats."""
        # The terms come as log p(x | z_1), log p(z_1 | z_2), ..., the prior last.
        log_likelihood, *prior_terms = self.model.log_joint_terms(
            self.x, list(z.split(self.sizes, -1))
        )
        return log_likelihood, sum(prior_terms[1:], prior_terms[0])

    def at(self, beta: float) -> hmc.LogDensity:
        """Return the log-density at one temperature, up to a constant."""

        def log_density(z: Tensor) -> Tensor:
            likelihood, prior = self.parts(z)
            return prior + beta * likelihood

        return log_density


@torch.no_grad()
def lower(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> Tensor:
    """Return the log-weights of the forward chains, (chains, batch), nats, float64.

    The mean of the weights is p(x).

    Args:
        model: A model with real latents that knows log p(x | z) and log p(z), and samples p(z).
        x: Examples (batch, d), in the model's dtype.
        seed: Seed of the chains.
        how: Settings of the annealing.
    """
    # ``run`` keeps noise apart: 0 tunes the step sizes, 1 goes forwards, 2 backwards.
    step_sizes = _tuned_steps(model, x, seed, how)
    z = _at_the_prior(model, x, how.chains, seed, 1)
    return _along(Target(model, x), z, seed, how, step_sizes)


@torch.no_grad()
def upper(model: Dreaming, x: Tensor, z: Sequence[Tensor], seed: int, how: Annealing) -> Tensor:
    """Return the logs of the inverse weights of the backward chains, (chains, batch), nats.

    The mean of the inverse weights is 1 / p(x).

    Args:
        model: As for ``lower``.
        x: Examples that the model made.
        z: The latents from which they were made, layers (1, batch, n).
        seed: Seed of the chains.
        how: Settings of the annealing.
    """
    step_sizes = _tuned_steps(model, x, seed, how)

    # Given such an x, its latents are an exact sample of the posterior. All chains begin at it.
    exact_samples = torch.cat(list(z), -1).expand(how.chains, -1, -1)
    return _along(Target(model, x), exact_samples, seed, how, step_sizes, backwards=True)


def log_mean(log_weights: Tensor) -> Tensor:
    """Return the log of the mean over the chains, (batch,)."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


class Annealed(NamedTuple):
    """log p(x) of some examples, and the gap between both directions on examples of the model.

    Attributes:
        log_weights: Log-weights of the forward chains, (chains, n), nats, float64.
        gaps: Upper minus lower estimate of log p(x) of each example that the model made, (CASES,),
            nats.
    """

    log_weights: Tensor
    gaps: Tensor

    @property
    def ess(self) -> Tensor:
        """Effective number of chains of each example, (n,)."""
        shares = torch.softmax(self.log_weights, 0)
        return 1 / shares.square().sum(0)


def log_evidence(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> Annealed:
    """Return log p(x) of any number of examples ``x`` (n, d), and the gap of both directions.

    The gap is measured on ``CASES`` examples that the model makes. Examples are annealed ``CASES``
    at a time. Within a ``steps.Work`` the estimation can be stopped and resumed.
    """
    x = x.to(model.mean.dtype)

    # One step for each group of examples, and a last one for the gaps.
    groups = x.split(CASES)
    results = Box(found=[])
    for number in steps("annealing", len(groups) + 1, results):
        if number < len(groups):
            group = groups[number]

            # Noise is drawn for whole groups, so a short last group is filled up.
            filled = torch.cat([group, group[-1:].expand(CASES - len(group), -1)])
            group_weights = lower(model, filled, seeds.derive(seed, "anneal", number), how)[
                :, : len(group)
            ]
            results.found = [*results.found, group_weights]
        else:
            results.found = [*results.found, gaps(model, seeds.derive(seed, "made_case"), how)]

    *group_weights, gaps_of_made = results.found
    return Annealed(torch.cat(group_weights, 1), gaps_of_made)


def gaps(model: Dreaming, seed: int, how: Annealing) -> Tensor:
    """Return upper minus lower estimate of log p(x), (CASES,), nats, of examples the model makes.

    Both estimates are right in the limit. In expectation the gap is positive, and no smaller than
    the error of either.
    """
    draws = noise.fixed(model.joint_noise(CASES), seed, "anneal", device=model.mean.device)
    with torch.no_grad():
        x, z = model.sample_joint({name: v.to(model.mean.dtype) for name, v in draws.items()})

    low = log_mean(lower(model, x, seed, how))
    # The backward chains give inverse weights, whose mean is 1 / p(x).
    high = -log_mean(upper(model, x, z, seed, how))
    return high - low


def _at_the_prior(model: Dreaming, x: Tensor, chains: int, seed: int, run: int) -> Tensor:
    """Return states drawn from the prior, all layers side by side, (chains, batch, n)."""
    draws = noise.fixed(model.joint_noise(chains * len(x)), seed, "anneal", run, 0, device=x.device)
    _, z = model.sample_joint({name: v.to(x.dtype) for name, v in draws.items()})
    # The prior does not depend on the examples: draw (1, chains * batch, n) for each layer.
    return torch.cat([layer[0] for layer in z], -1).unflatten(0, (chains, len(x)))


def _drawn(
    model: LatentModel, x: Tensor, chains: int, seed: int, run: int, t: int
) -> dict[str, Tensor]:
    """Return the noise of a temperature: momenta and uniforms."""
    latents = sum(model.sizes[1:])
    shapes = {
        "momentum": ("normal", (chains, len(x), latents)),
        "accept": ("uniform", (chains, len(x))),
    }
    draws = noise.fixed(shapes, seed, "anneal", run, t, device=x.device)
    return {key: v.to(x.dtype) for key, v in draws.items()}


def _tuned_steps(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> list[Tensor]:
    """Return the integrator's step size of every temperature from the second on, (batch, 1) each.

    They are tuned by chains of their own.
    """
    target = Target(model, x)
    betas = how.betas()
    first_step_size = torch.full((len(x), 1), FIRST_STEP, dtype=x.dtype, device=x.device)
    chains = Box(z=_at_the_prior(model, x, how.chains, seed, 0), lengths=[first_step_size])

    # The step size tuned at one temperature is used at the next, by these chains and by those that
    # count.
    for t in steps("tuning", len(betas) - 1, chains):
        step_size = chains.lengths[-1]
        draws = _drawn(model, x, how.chains, seed, 0, t + 1)
        density = target.at(betas[t + 1])
        z, acceptance = hmc.transition(
            density, chains.z, step_size, how.leaps, draws["momentum"], draws["accept"]
        )

        # One step size for all chains of an example, by their mean acceptance.
        chains.z = z
        chains.lengths = [
            *chains.lengths,
            hmc.tuned(step_size, acceptance.mean(0).unsqueeze(-1), how.acceptance, SPEED),
        ]

    # The last one, tuned at the last temperature, has no next temperature.
    step_sizes: list[Tensor] = chains.lengths[:-1]
    return step_sizes


def _along(
    target: Target,
    z: Tensor,
    seed: int,
    how: Annealing,
    step_sizes: list[Tensor],
    backwards: bool = False,
) -> Tensor:
    """Return the log-weights of chains from ``z`` along all temperatures.

    Forwards these are log w, backwards -log w.
    """
    betas = how.betas()
    last_temperature = len(betas) - 1
    chains = Box(z=z, total=torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device))
    for step in steps("chains", last_temperature, chains):
        # The transition of a step is at betas[t]; its weight is for the interval below it.
        t = last_temperature - step if backwards else step + 1
        draws = _drawn(target.model, target.x, how.chains, seed, 2 if backwards else 1, t)
        density = target.at(betas[t])
        step_size = step_sizes[t - 1]
        gap = betas[t] - betas[t - 1]

        if backwards:
            # An exact sample at beta_t stays one; then it gets its weight for the next lower beta.
            moved, _ = hmc.transition(
                density, chains.z, step_size, how.leaps, draws["momentum"], draws["accept"]
            )
            weight = -gap * target.parts(moved)[0].double()
        else:
            # The weight for the move to beta_t is taken before the transition there (Neal 2001).
            # log f_t - log f_(t-1) is gap log p(x | z).
            weight = gap * target.parts(chains.z)[0].double()
            moved, _ = hmc.transition(
                density, chains.z, step_size, how.leaps, draws["momentum"], draws["accept"]
            )

        chains.z = moved
        chains.total = chains.total + weight

    total: Tensor = chains.total
    return total
