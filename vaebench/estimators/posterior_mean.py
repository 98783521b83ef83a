"""Posterior means of a scalar latent: the model's and the encoder's (He et al. 2019, App. A).

The model's mean is found by quadrature on a grid. Compared example by example, the two show whether
the inference network lags behind the model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.estimators.weights import plan
from vaebench.models.base import GaussianPosterior, Model
from vaebench.models.posterior import total
from vaebench.work.steps import tick

LOW = -20.0
HIGH = 20.0
STEP = 0.1
"""The paper's grid with the step of its released script. The text says 0.01, which makes no
difference: see ``posterior_mean``."""


@torch.no_grad()
def posterior_mean(
    model: Model,
    x: Tensor,
    *,
    low: float = LOW,
    high: float = HIGH,
    step: float = STEP,
    chunk: int | None = None,
) -> Tensor:
    """Return E[z | x] under p(z | x) of every example of ``x`` (n, d), for a scalar z.

    The result is (n,), float64. It is the mean over the grid low, low + step, ... high with weights
    p(x, z): a softmax of log p(z) + log p(x | z), in which the step cancels. If p(z | x) is a
    Gaussian of standard deviation s, the error is of the order of exp(-2 (pi s / step)^2).
    ``chunk``: grid points at a time, for speed only. Raises UserError for a model whose latent is
    not a scalar, or for a grid of fewer than two points.
    """
    model = _check(model)
    if not (step > 0 and high - low >= step):
        raise UserError(
            f"a grid from {low} to {high} with step {step}: allowed: at least two points"
        )

    # The small addend keeps the last point if rounding puts the quotient just below a whole number.
    points = int((high - low) / step + 1 + 1e-6)
    grid = low + step * torch.arange(points, dtype=torch.float64, device=x.device)
    means = torch.empty(len(x), dtype=torch.float64, device=x.device)

    for cases, points_at_once, xs in plan(model, x, points, chunk):
        # log p(x, z) at every point of the grid, (points, batch). z is one layer of one unit,
        # (points, batch, 1).
        log_p = torch.empty(points, len(xs), dtype=torch.float64, device=x.device)
        for start in range(0, points, points_at_once):
            tick()
            z = (
                grid[start : start + points_at_once]
                .to(model.mean.dtype)[:, None, None]
                .expand(-1, len(xs), 1)
            )
            log_p[start : start + points_at_once] = total(model.score_terms(xs, [z])).double()
        means[cases] = torch.softmax(log_p, 0).mT @ grid
    return means


@torch.no_grad()
def encoder_mean(model: Model, x: Tensor) -> Tensor:
    """Return the mean of q(z | x) of every example of ``x`` (n, d), for a scalar z.

    The result is (n,), float64. Raises UserError for a model whose latent is not a scalar.
    """
    model = _check(model)
    return torch.cat([model.posterior(xs).mean[:, 0].double() for _, _, xs in plan(model, x, 1)])


def scalar(model: Model) -> bool:
    """Whether the model has one Gaussian latent, of one dimension."""
    return isinstance(model, GaussianPosterior) and model.sizes[1:] == [1]


def _check(model: Model) -> GaussianPosterior:
    if not (isinstance(model, GaussianPosterior) and scalar(model)):
        raise UserError(
            f"{model.called}: posterior means are drawn for one Gaussian latent, model.latents=1"
        )
    return model
