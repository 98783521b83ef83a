"""log p(x) of models with real latents by annealed importance sampling.

From the prior to the posterior (Neal 2001). Between them lie p(z) p(x | z)^beta, beta from 0 to 1,
sampled by Hamiltonian Monte Carlo (Wu, Burda, Salakhutdinov & Grosse 2017). No proposal can
flatter: the mean of the weights is p(x) forwards, of their inverses 1 / p(x) backwards, from an
exact sample of the posterior, which there is of data that the model made. So one direction gives a
stochastic lower bound of log p(x), the other an upper one, and the two meet as temperatures and
chains grow.

The integrator's steps are tuned in a run of their own before, one for every case and temperature,
so that the weights that count come from a fixed Markov chain.
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
"""Cases annealed together, so that no result depends on which others are measured, and
how many the model makes."""


class Dreaming(LatentModel, Ancestral):
    """A model of both kinds, for the type checker."""


@dataclass(frozen=True)
class Annealing:
    """``temperatures`` steps from the prior to the posterior, with ``chains`` for each case.

    ``leaps``: leapfrog steps of a transition, of which there is one at each temperature, tuned for
    ``acceptance``.
    """

    temperatures: int = 1000
    chains: int = 16
    leaps: int = 5
    acceptance: float = 0.8

    def betas(self) -> list[float]:
        """From 0 to 1, closer together at the ends: a sigmoid of even steps."""
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
"""How fast tuning follows the acceptance of the chains of a case."""


class Target:
    """p(z) p(x | z)^beta of the cases ``x`` (batch, d).

    For all layers of z side by side, (chains, batch, n).
    """

    def __init__(self, model: LatentModel, x: Tensor) -> None:
        self.model = model
        self.x = x
        self.sizes = model.sizes[1:]

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z) and log p(z), (chains, batch) each, nats."""
        first, *rest = self.model.log_joint_terms(self.x, list(z.split(self.sizes, -1)))
        return first, sum(rest[1:], rest[0])

    def at(self, beta: float) -> hmc.LogDensity:
        """The density at one temperature, up to a constant."""

        def log_density(z: Tensor) -> Tensor:
            likelihood, prior = self.parts(z)
            return prior + beta * likelihood

        return log_density


@torch.no_grad()
def lower(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> Tensor:
    """log of the weights of the forward chains, (chains, batch), nats, float64.

    The mean of the weights is p(x).

    Args:
        model: With real latents, of which it knows log p(x | z) and log p(z), and samples p(z).
        x: Cases (batch, d), in the model's dtype.
        seed: Of the chains.
        how: They are annealed.
    """
    lengths = _tuned_steps(model, x, seed, how)
    z = _at_the_prior(model, x, how.chains, seed, 1)
    return _along(Target(model, x), z, seed, how, lengths)


@torch.no_grad()
def upper(model: Dreaming, x: Tensor, z: Sequence[Tensor], seed: int, how: Annealing) -> Tensor:
    """log of the inverse weights of the backward chains, (chains, batch), nats.

    Their mean is 1 / p(x).

    Args:
        model: As for ``lower``.
        x: Cases that the model made.
        z: The latents that they were made of, layers (1, batch, n).
        seed: Of the chains.
        how: They are annealed.
    """
    lengths = _tuned_steps(model, x, seed, how)
    start = torch.cat(list(z), -1).expand(how.chains, -1, -1)
    return _along(Target(model, x), start, seed, how, lengths, backwards=True)


def log_mean(log_weights: Tensor) -> Tensor:
    """log of the mean over the chains, (batch,)."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


class Annealed(NamedTuple):
    """log p(x) of some cases, and how far both directions are apart where both are possible.

    Attributes:
        log_weights: Of the forward chains, (chains, n), nats, float64.
        gaps: Upper minus lower estimate of log p(x) of each case that the
            model made, (CASES,), nats.
    """

    log_weights: Tensor
    gaps: Tensor

    @property
    def ess(self) -> Tensor:
        """Effective number of chains of each case, (n,)."""
        shares = torch.softmax(self.log_weights, 0)
        return 1 / shares.square().sum(0)


def log_evidence(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> Annealed:
    """log p(x) of any number of cases ``x`` (n, d), and the gap of both directions.

    The gap is on ``CASES`` cases of the model's. The cases are annealed ``CASES`` at a time. Within
    a ``steps.Work`` it can be stopped, and gone on with.
    """
    x = x.to(model.mean.dtype)
    parts = x.split(CASES)
    done = Box(found=[])
    for number in steps("annealing", len(parts) + 1, done):
        if number < len(parts):
            some = parts[number]
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
    """Upper minus lower estimate of log p(x), (CASES,), nats, of cases that the model makes.

    Both are right in the limit. In expectation the gap is positive, and no smaller
    than the error of either.
    """
    draws = noise.fixed(model.joint_noise(CASES), seed, "anneal", device=model.mean.device)
    with torch.no_grad():
        x, z = model.sample_joint({name: v.to(model.mean.dtype) for name, v in draws.items()})
    low = log_mean(lower(model, x, seed, how))
    high = -log_mean(upper(model, x, z, seed, how))
    return high - low


def _at_the_prior(model: Dreaming, x: Tensor, chains: int, seed: int, run: int) -> Tensor:
    """States of the prior, all layers side by side, (chains, batch, n)."""
    draws = noise.fixed(model.joint_noise(chains * len(x)), seed, "anneal", run, 0, device=x.device)
    _, z = model.sample_joint({name: v.to(x.dtype) for name, v in draws.items()})
    return torch.cat([layer[0] for layer in z], -1).unflatten(0, (chains, len(x)))


def _drawn(
    model: LatentModel, x: Tensor, chains: int, seed: int, run: int, t: int
) -> dict[str, Tensor]:
    """The noise of a temperature: momenta and uniforms."""
    n = sum(model.sizes[1:])
    shapes = {"momentum": ("normal", (chains, len(x), n)), "accept": ("uniform", (chains, len(x)))}
    found = noise.fixed(shapes, seed, "anneal", run, t, device=x.device)
    return {key: v.to(x.dtype) for key, v in found.items()}


def _tuned_steps(model: Dreaming, x: Tensor, seed: int, how: Annealing) -> list[Tensor]:
    """The integrator's step of every temperature from the second on.

    (batch, 1) each, by chains of their own.
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
    """The log-weights of chains from ``z`` along all temperatures, forwards or backwards."""
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
            # An exact sample at beta_t stays one; its weight to the next lower temperature.
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
