"""What single latents of a trained model stand for.

Images whose codes differ in one latent, or in two, alone. A model that knows the means of pixels
shows these. Others draw all images of a picture with the same noise, so that only their codes tell
them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.data.examples import every_nth
from vaebench.errors import UserError
from vaebench.estimators.active_units import variances
from vaebench.evaluation.generation import has_means, posterior_means
from vaebench.models.base import BinaryVisibles, GaussianPosterior, MeanVisibles, Model
from vaebench.models.dlgm import DLGM
from vaebench.models.refinement import whole_batches
from vaebench.rng import noise

FROM = -3.0
TO = 3.0
"""Between which values a latent is moved: standard deviations of the prior."""

CASES = 500
"""Cases at most, by whose posterior means a latent counts as more active than another."""


class Moved(NamedTuple):
    """Images (down, across, d), from 0 to 1; the numbers of the latents.

    The variances of the means of all of them.
    """

    images: Tensor
    latents: list[int]
    variances: Tensor


def moved(
    model: Model,
    x: Tensor,
    latents: int,
    steps: int,
    seed: int,
    around: int | None = None,
    manifold: bool = False,
    means: bool = False,
) -> Moved:
    """Images of the most active latents, each moved in turn, or of the two most active in a plane.

    Args:
        model: With Gaussian latents, and bits or known means given these.
        x: Cases (n, d), by whose posterior means latents are chosen.
        latents: How many, of a plane two.
        steps: Values of each.
        seed: Of the noise.
        around: Number of the case whose posterior mean the other latents have; None: they are 0,
            the prior's mean.
        manifold: Whether ``plane`` makes the codes, rather than ``along``.
        means: Whether pixels may be means rather than bits, where the model knows them.

    Raises:
        UserError: For another model, for more latents than it has, or a case that is not there.
    """
    drawn = (means and isinstance(model, MeanVisibles)) or (
        isinstance(model, BinaryVisibles) and model.draws_bits
    )
    if not (has_means(model) and drawn):
        wanted = "images" if means else "images of zeros and ones"
        raise UserError(f"{type(model).__name__} has no Gaussian latents of {wanted}")
    if latents > model.sizes[1]:
        raise UserError(f"{latents} latents to move: the model has {model.sizes[1]}")
    if around is not None and not 0 <= around < len(x):
        raise UserError(f"image {around}: allowed: a whole number from 0 to {len(x) - 1}")

    activities = activity(model, x)
    chosen = most_active(activities, latents)
    centre = torch.zeros(model.sizes[1]) if around is None else _mean_of(model, x, around)
    codes = (plane if manifold else along)(centre, chosen, steps)
    return Moved(images(model, codes, x.shape[1], seed, means), chosen, activities)


def _mean_of(model: GaussianPosterior | DLGM, x: Tensor, case: int) -> Tensor:
    """The posterior mean of one case, (latents,).

    A refined one hangs on those that are refined beside it.
    """
    unit = whole_batches(model, 1)
    first = case // unit * unit
    return posterior_means(model, x[first : first + unit])[case - first]


def activity(model: GaussianPosterior | DLGM, x: Tensor) -> Tensor:
    """How much the posterior mean of every latent varies over the cases ``x`` (n, d).

    CASES of them at most.

    Returns:
        The variances (latents,), whose size decides what counts as an active unit.

    Raises:
        UserError: For fewer than two cases.

    Reference: Burda, Grosse & Salakhutdinov 2016, section 5.1.
    """
    if len(x) < 2:
        raise UserError(
            "the most active latents are those whose posterior mean varies most: "
            "needs two cases at least"
        )
    return variances(posterior_means(model, every_nth(x, CASES)))


def most_active(activity: Tensor, latents: int) -> list[int]:
    """The ``latents`` places of the greatest numbers of ``activity`` (n,), those first.

    Of equals the first.
    """
    return torch.argsort(activity, descending=True, stable=True)[:latents].tolist()


def along(centre: Tensor, latents: list[int], steps: int) -> Tensor:
    """Codes (latents, steps, n).

    Each of ``latents`` from FROM to TO in turn, the others as in ``centre`` (n,).
    """
    codes = centre.repeat(len(latents), steps, 1)
    values = torch.linspace(FROM, TO, steps, dtype=centre.dtype)
    for row, latent in enumerate(latents):
        codes[row, :, latent] = values
    return codes


def plane(centre: Tensor, latents: list[int], steps: int) -> Tensor:
    """Codes (steps, steps, n) that share out the prior of two latents evenly.

    The others are as in ``centre`` (n,). Values are the normal's quantiles at (i + 1/2) / steps.
    The first latent falls from row to row, so that it points up; the second rises from column to
    column.

    Reference: Kingma & Welling 2014, figure 4.
    """
    down, across = latents
    shares = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    values = torch.special.ndtri(shares).to(centre.dtype)
    codes = centre.repeat(steps, steps, 1)
    codes[..., down] = values.flip(0).unsqueeze(1)
    codes[..., across] = values
    return codes


@torch.no_grad()
def images(model: Model, codes: Tensor, pixels: int, seed: int, means: bool = False) -> Tensor:
    """An image of each code (down, across, n), (down, across, pixels).

    Its means if wanted and known, else bits. Bits are all drawn with the same uniforms.
    """
    if means and isinstance(model, MeanVisibles):
        return model.visible_mean([codes])
    assert isinstance(model, BinaryVisibles)
    uniform = noise.fixed(
        {"u": ("uniform", (1, 1, pixels))}, seed, "made_case", device=codes.device
    )["u"]
    return model.sample_visible([codes], uniform.expand(*codes.shape[:2], pixels))
