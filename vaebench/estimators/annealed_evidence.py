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
        ends = [
            1 / (1 + math.exp(4 * (1 - 2 * t / self.temperatures)))
            for t in range(self.temperatures + 1)
        ]
        low = ends[0]
        high = ends[-1]
        return [(v - low) / (high - low) for v in ends]


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
        first, *rest = self.model.log_joint_terms(self.x, list(z.split(self.sizes, -1)))
        return first, sum(rest[1:], rest[0])

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
    lengths = _tuned_steps(model, x, seed, how)
    z = _at_the_prior(model, x, how.chains, seed, 1)
    return _along(Target(model, x), z, seed, how, lengths)


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
    lengths = _tuned_steps(model, x, seed, how)
    start = torch.cat(list(z), -1).expand(how.chains, -1, -1)
    return _along(Target(model, x), start, seed, how, lengths, backwards=True)


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
    parts = x.split(CASES)
    done = Box(found=[])
    for number in steps("annealing", len(parts) + 1, done):
        if number < len(parts):
            some = parts[number]
            # Noise is drawn for whole groups, so a short last group is filled up.
            filled = torch.cat([some, some[-1:].expand(CASES - len(some), -1)])
            weights = lower(model, filled, seeds.derive(seed, "anneal", number), how)[
                :, : len(some)
            ]
            done.found = [*done.found, weights]
        else:
            done.found = [*done.found, gaps(model, seeds.derive(seed, "made_case"), how)]

    *weights, apart = done.found
    return Annealed(torch.cat(weights, 1), apart)


def gaps(model: Dreaming, seed: int, how: Annealing) -> Tensor:
    """Return upper minus lower estimate of log p(x), (CASES,), nats, of examples the model makes.

    Both estimates are right in the limit. In expectation the gap is positive, and no smaller than
    the error of either.
    """
    draws = noise.fixed(model.joint_noise(CASES), seed, "anneal", device=model.mean.device)
    with torch.no_grad():
        x, z = model.sample_joint({name: v.to(model.mean.dtype) for name, v in draws.items()})

    low = log_mean(lower(model, x, seed, how))
    high = -log_mean(upper(model, x, z, seed, how))
    return high - low


def _at_the_prior(model: Dreaming, x: Tensor, chains: int, seed: int, run: int) -> Tensor:
    """Return states drawn from the prior, all layers side by side, (chains, batch, n)."""
    draws = noise.fixed(model.joint_noise(chains * len(x)), seed, "anneal", run, 0, device=x.device)
    _, z = model.sample_joint({name: v.to(x.dtype) for name, v in draws.items()})
    return torch.cat([layer[0] for layer in z], -1).unflatten(0, (chains, len(x)))


def _drawn(
    model: LatentModel, x: Tensor, chains: int, seed: int, run: int, t: int
) -> dict[str, Tensor]:
    """Return the noise of a temperature: momenta and uniforms."""
    n = sum(model.sizes[1:])
    shapes = {"momentum": ("normal", (chains, len(x), n)), "accept": ("uniform", (chains, len(x)))}
    found = noise.fixed(shapes, seed, "anneal", run, t, device=x.device)
    return {key: v.to(x.dtype) for key, v in found.items()}


def _tuned_steps(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> list[Tensor]:
    """Return the integrator's step size of every temperature from the second on, (batch, 1) each.

    They are tuned by chains of their own.
    """
    target = Target(model, x)
    betas = how.betas()
    first = torch.full((len(x), 1), FIRST_STEP, dtype=x.dtype, device=x.device)
    at = Box(z=_at_the_prior(model, x, how.chains, seed, 0), lengths=[first])

    for t in steps("tuning", len(betas) - 1, at):
        length = at.lengths[-1]
        drawn = _drawn(model, x, how.chains, seed, 0, t + 1)
        density = target.at(betas[t + 1])
        z, accepted = hmc.transition(
            density, at.z, length, how.leaps, drawn["momentum"], drawn["accept"]
        )

        at.z = z
        at.lengths = [
            *at.lengths,
            hmc.tuned(length, accepted.mean(0).unsqueeze(-1), how.acceptance, SPEED),
        ]

    found: list[Tensor] = at.lengths[:-1]
    return found


def _along(
    target: Target,
    z: Tensor,
    seed: int,
    how: Annealing,
    lengths: list[Tensor],
    backwards: bool = False,
) -> Tensor:
    """Return the log-weights of chains from ``z`` along all temperatures.

    Forwards these are log w, backwards -log w.
    """
    betas = how.betas()
    last = len(betas) - 1
    at = Box(z=z, total=torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device))
    for step in steps("chains", last, at):
        t = last - step if backwards else step + 1
        drawn = _drawn(target.model, target.x, how.chains, seed, 2 if backwards else 1, t)
        density = target.at(betas[t])
        length = lengths[t - 1]
        gap = betas[t] - betas[t - 1]

        if backwards:
            # An exact sample at beta_t stays one; then it gets its weight for the next lower beta.
            moved, _ = hmc.transition(
                density, at.z, length, how.leaps, drawn["momentum"], drawn["accept"]
            )
            weight = -gap * target.parts(moved)[0].double()
        else:
            weight = gap * target.parts(at.z)[0].double()
            moved, _ = hmc.transition(
                density, at.z, length, how.leaps, drawn["momentum"], drawn["accept"]
            )

        at.z = moved
        at.total = at.total + weight

    total: Tensor = at.total
    return total
