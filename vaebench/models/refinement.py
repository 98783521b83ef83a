"""Refining a Gaussian posterior example by example, from where the encoder ends.

Semi-amortised inference (Kim et al. 2018) by stochastic variational inference: gradient steps with
momentum on the mean and log-variance of q(z | x), each with a fresh sample. The refined posterior
takes the place of the encoder's, in training and in every measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebench.models.base import GaussianPosterior, Model, Moments
from vaebench.models.elbo import Draws, elbo
from vaebench.models.posterior import Gaussian
from vaebench.nn.batch_norm import Tape
from vaebench.optim.clipping import clipped_jointly
from vaebench.rng import noise
from vaebench.work.steps import tick


@dataclass(frozen=True)
class Steps:
    """How a posterior is refined.

    Args:
        count: Number of gradient steps.
        rate: Step size.
        momentum: Share of the last step that is kept.
        clip: Largest norm of the gradient of all means of a batch, and of all its log-variances;
            None: no limit.
    """

    count: int = 10
    rate: float = 1.0
    momentum: float = 0.5
    clip: float | None = 5.0

    @classmethod
    def of(cls, objective: Mapping[str, Any]) -> Steps | None:
        """Return the steps that a cell's objective sets by ``svi_*``.

        None if posteriors are not refined.
        """
        if not objective.get("svi_steps"):
            return None
        return cls(*(objective[f"svi_{name}"] for name in ("steps", "rate", "momentum", "clip")))


def shrink(grads: Sequence[Tensor], clip: float | None) -> list[Tensor]:
    """Clip gradients one by one: scale each tensor to a norm of at most ``clip``."""
    return [clipped_jointly([g], clip)[0] for g in grads]


class Path(NamedTuple):
    """The course of a refinement.

    Attributes:
        before: Moments before every step.
        grads: The gradients there, not clipped.
        end: Moments at the end.
    """

    before: list[Moments]
    grads: list[Moments]
    end: Moments


def refine(
    model: GaussianPosterior,
    x: Tensor,
    start: Moments,
    draws: Sequence[Draws],
    weight: Tensor | float,
    steps: Steps,
    tapes: Sequence[Tape | None] = (),
    differentiable: bool = False,
) -> Path:
    """Refine the posteriors of a batch.

    Args:
        model: Gives log p(x | z).
        x: Examples, (batch, d).
        start: The encoder's mean and log-variance, (batch, n) each.
        draws: The noise of every step.
        weight: The weight of the KL.
        steps: How the posteriors are refined.
        tapes: A tape for every step; empty: none.
        differentiable: Whether gradients pass through the steps, to ``start`` and the parameters.
            Then every layer must have a second derivative (``nn.second_order``).

    Returns:
        The path. Without ``differentiable`` no gradient passes.
    """
    tapes = tapes or [None] * steps.count
    moments = start if differentiable else _leaves(start)
    velocity = (torch.zeros_like(moments[0]), torch.zeros_like(moments[1]))
    before: list[Moments] = []
    grads: list[Moments] = []

    for k in range(steps.count):
        tick()
        # Evaluations run without gradients, but the steps need those of mean and log-variance.
        with torch.enable_grad():
            loss = elbo(model, x, Gaussian(*moments), draws[k], weight, tapes[k]).loss
            d_mean, d_log_var = torch.autograd.grad(loss, moments, create_graph=differentiable)
        before.append(moments)
        grads.append((d_mean, d_log_var))

        # Gradient descent with momentum, v <- momentum v - gradient and moments <- moments + rate
        # v, as in Kim et al. The gradients of all means and of all log-variances are clipped apart.
        clipped = shrink((d_mean, d_log_var), steps.clip)
        velocity = (
            steps.momentum * velocity[0] - clipped[0],
            steps.momentum * velocity[1] - clipped[1],
        )
        moments = (moments[0] + steps.rate * velocity[0], moments[1] + steps.rate * velocity[1])
        # Cut the graph, so that memory does not grow from step to step.
        if not differentiable:
            moments = _leaves(moments)

    return Path(before, grads, moments)


class Refinement:
    """Refines the posteriors of examples to be evaluated, in batches of the size used in training.

    This is a model's ``refinement``. The samples of the steps depend only on ``seed`` and on an
    example's place in its batch, so that all measures see the same posterior of the example. There
    is no dropout, normalisation uses the running averages, and the KL has weight 1.

    Args:
        steps: How the posteriors are refined.
        batch: Number of examples whose gradients are clipped together, and over which the loss is a
            mean.
        seed: Seed of the samples.
    """

    def __init__(self, steps: Steps, batch: int, seed: int = 0) -> None:
        self.steps = steps
        self.batch = batch
        self.seed = seed

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain values, for a file; see ``restore``."""
        return {**asdict(self.steps), "batch": self.batch, "seed": self.seed}

    def __call__(self, model: GaussianPosterior, x: Tensor, found: Gaussian) -> Gaussian:
        """Return the posteriors (n, latents) of the examples ``x`` (n, d), refined from ``found``.

        No gradient passes.
        """
        # Noise for one sample of each example of a full batch, for every step. All batches share
        # it, and a shorter last batch takes its first rows.
        shape = (1, self.batch, found.mean.shape[1])
        normals = [
            noise.fixed({"q1": ("normal", shape)}, self.seed, "refine", k, device=x.device)["q1"]
            for k in range(self.steps.count)
        ]

        ends = []
        for part, mean, log_var in zip(
            *(v.split(self.batch) for v in (x, found.mean, found.log_var)), strict=True
        ):
            draws = [Draws(normal[:, : len(part)].to(mean.dtype), {}) for normal in normals]
            ends.append(refine(model, part, (mean, log_var), draws, 1.0, self.steps).end)

        # From moments batch by batch to all means and all log-variances.
        mean, log_var = (torch.cat(parts).detach() for parts in zip(*ends, strict=True))
        return Gaussian(mean, log_var)


def whole_batches(model: Model, cases: int, least: int = 1) -> int:
    """Return how many neighbouring examples one call of ``posterior`` should take, about ``cases``.

    It is a multiple of ``least``. If the model's posteriors are refined, it is a multiple of the
    batch in which they are refined instead: the refined posterior of an example depends on the
    others in its batch, so any other cut would change it.
    """
    unit = least
    if isinstance(model, GaussianPosterior) and isinstance(model.refinement, Refinement):
        unit = model.refinement.batch
    return max(unit, cases // unit * unit)


def attach(model: Model, config: Mapping[str, Any]) -> None:
    """Let a model be evaluated by the posterior that a cell's objective trains it for."""
    steps = Steps.of(config["objective"])
    if steps is not None and isinstance(model, GaussianPosterior):
        model.refinement = Refinement(steps, config["train"]["batch"])


def restore(model: Model, settings: Mapping[str, Any] | None) -> None:
    """Give a model the refinement with these ``plain`` settings; None: it has none."""
    if settings is not None and isinstance(model, GaussianPosterior):
        steps = Steps(**{field.name: settings[field.name] for field in fields(Steps)})
        model.refinement = Refinement(steps, settings["batch"], settings["seed"])


def _leaves(moments: Moments) -> Moments:
    """Return the moments as leaves of a new graph, by which a loss can be differentiated."""
    mean, log_var = moments
    return mean.detach().requires_grad_(), log_var.detach().requires_grad_()
