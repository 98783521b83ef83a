"""Hamiltonian Monte Carlo for many chains side by side.

Duane, Kennedy, Pendleton & Roweth 1987; Neal 2011.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""Maps states (..., n) to log-densities (...), up to a constant; chains must not depend on one
another."""


class Moved(NamedTuple):
    """Chains after a transition: new states, and acceptance probabilities of the proposals.

    ``state`` (..., n); ``probability`` (...) of acceptance.
    """

    state: Tensor
    probability: Tensor


def slopes(log_density: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient (..., n) and the value (...) of the log-density at every state.

    Nothing is recorded for other gradients.
    """

    # Chains do not depend on one another, so the gradient of the sum has the gradient of each chain
    # in its own place.
    def total(v: Tensor) -> tuple[Tensor, Tensor]:
        values = log_density(v)
        return values.sum(), values

    with torch.no_grad():
        gradient, (_, values) = torch.func.grad_and_value(total, has_aux=True)(z)
    return gradient, values


def transition(
    log_density: LogDensity,
    z: Tensor,
    step: Tensor | float,
    leaps: int,
    momentum: Tensor,
    uniform: Tensor,
) -> Moved:
    """Make one transition, which leaves the density invariant whatever the step size.

    Args:
        log_density: What the chains sample from.
        z: States (..., n).
        step: Step size of the leapfrog integrator; a tensor must broadcast to (..., 1).
        leaps: Number of leapfrog steps.
        momentum: Standard normals (..., n).
        uniform: Uniforms on (0, 1), (...).
    """
    # Leapfrog: half a step of the momentum, a step of the state, half a step of the momentum. The
    # slope at the end of a step is that at the beginning of the next.
    slope, log_p_before = slopes(log_density, z)
    proposal = z
    p = momentum
    for _ in range(leaps):
        p = p + 0.5 * step * slope
        proposal = proposal + step * p
        slope, log_p_after = slopes(log_density, proposal)
        p = p + 0.5 * step * slope

    # The integrator keeps volume and can be reversed. So the Metropolis ratio is that of the joint
    # density of state and momentum at both ends.
    log_ratio = (
        log_p_after - 0.5 * p.square().sum(-1) - log_p_before + 0.5 * momentum.square().sum(-1)
    )
    # A trajectory that diverged to NaN is refused, as if its probability were 0.
    probability = torch.nan_to_num(log_ratio, nan=-torch.inf).clamp(max=0).exp()

    accepted = (uniform < probability).unsqueeze(-1)
    return Moved(torch.where(accepted, proposal, z), probability)


def tuned(step: Tensor, probability: Tensor, target: float, speed: float) -> Tensor:
    """Return a step size nearer to that with the acceptance probability ``target``.

    It is longer if more is accepted, shorter if less is.
    """
    return step * torch.exp(speed * (probability - target))
