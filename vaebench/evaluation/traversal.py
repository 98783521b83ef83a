"""What single latents of a trained model stand for.

The codes of the images differ in one latent alone, or in two. If a model knows the means of pixels,
these can be shown. Else all images of a picture are drawn with the same noise, so that only their
codes make them differ.
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
"""The values between which a latent is moved, in standard deviations of the prior."""

CASES = 500
"""Largest number of examples whose posterior means decide which latents are most active."""


class Moved(NamedTuple):
    """Images of moved latents, and which latents they are.

    Attributes:
        images: (down, across, d), from 0 to 1.
        latents: Numbers of the latents that are moved.
        variances: Variances of the posterior means of all latents, (latents,).
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
    """Return images of the most active latents: each moved in turn, or two of them in a plane.

    Args:
        model: A model with Gaussian latents, and bits or known means given these.
        x: Examples (n, d), by whose posterior means the latents are chosen.
        latents: How many latents are moved; for a plane, two.
        steps: Number of values of each.
        seed: Seed of the noise.
        around: Position of the example whose posterior mean the other latents take; None: they are
            0, the prior's mean.
        manifold: Whether the codes are those of ``plane``, not of ``along``.
        means: Whether pixels may be means and not bits, if the model knows the means.

    Raises:
        UserError: For another model, for more latents than it has, or if there is no such example.
    """
    has_images = (means and isinstance(model, MeanVisibles)) or (
        isinstance(model, BinaryVisibles) and model.draws_bits
    )
    if not (has_means(model) and has_images):
        needed = "images" if means else "images of zeros and ones"
        raise UserError(f"{model.called} has no Gaussian latents of {needed}")
    if latents > model.sizes[1]:
        raise UserError(f"{latents} latents to move: the model has {model.sizes[1]}")
    if around is not None and not 0 <= around < len(x):
        raise UserError(f"image {around}: allowed: a whole number from 0 to {len(x) - 1}")

    activities = activity(model, x)
    chosen = most_active(activities, latents)
    centre = torch.zeros(model.sizes[1]) if around is None else _mean_of(model, x, around)
    codes = (plane if manifold else along)(centre, chosen, steps)
    return Moved(images(model, codes, x.shape[1], seed, means), chosen, activities)


def _mean_of(model: GaussianPosterior | DLGM, x: Tensor, place: int) -> Tensor:
    """Return the posterior mean of one example, (latents,).

    A refined mean depends on the examples that are refined beside it, so whole batches are taken.
    """
    batch = whole_batches(model, 1)
    first = place // batch * batch
    return posterior_means(model, x[first : first + batch])[place - first]


def activity(model: GaussianPosterior | DLGM, x: Tensor) -> Tensor:
    """Return how much the posterior mean of every latent varies over the examples ``x`` (n, d).

    At most CASES of them are used.

    Returns:
        The variances (latents,), whose size decides what counts as an active unit.

    Raises:
        UserError: For fewer than two examples.

    Reference: Burda, Grosse & Salakhutdinov 2016, section 5.1.
    """
    if len(x) < 2:
        raise UserError(
            "the most active latents are those whose posterior mean varies most: "
            "needs two cases at least"
        )
    return variances(posterior_means(model, every_nth(x, CASES)))


def most_active(activity: Tensor, latents: int) -> list[int]:
    """Return the places of the ``latents`` largest numbers of ``activity`` (n,), largest first.

    Of equal numbers, the earlier place comes first.
    """
    return torch.argsort(activity, descending=True, stable=True)[:latents].tolist()


def along(centre: Tensor, latents: list[int], steps: int) -> Tensor:
    """Return codes (latents, steps, n).

    Each of ``latents`` goes from FROM to TO in turn; the others are as in ``centre`` (n,).
    """
    codes = centre.repeat(len(latents), steps, 1)
    values = torch.linspace(FROM, TO, steps, dtype=centre.dtype)
    for row, latent in enumerate(latents):
        codes[row, :, latent] = values
    return codes


def plane(centre: Tensor, latents: list[int], steps: int) -> Tensor:
    """Return codes (steps, steps, n) that divide the prior of two latents evenly.

    The other latents are as in ``centre`` (n,). The values are the normal's quantiles at
    (i + 1/2) / steps. The first latent falls from row to row, so it points up. The second rises
    from column to column.

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
    """Return an image of each code (down, across, n), (down, across, pixels).

    It is the image of means if ``means`` is set and they are known, else of bits. All bits are
    drawn with the same uniforms.
    """
    if means and isinstance(model, MeanVisibles):
        return model.visible_mean([codes])
    assert isinstance(model, BinaryVisibles)

    # One uniform for each pixel, the same in all images.
    uniform = noise.fixed(
        {"u": ("uniform", (1, 1, pixels))}, seed, "made_case", device=codes.device
    )["u"]
    return model.sample_visible([codes], uniform.expand(*codes.shape[:2], pixels))
