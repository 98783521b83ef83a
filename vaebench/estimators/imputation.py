"""Missing pixels filled in by a Markov chain through the codes.

Rezende, Mohamed & Wierstra 2014, section 6, figure 5.

    z ~ q(z | v_observed, v_missing),  v_missing ~ p(v | z),  the observed pixels stay as they are.

The missing pixels begin as random bits. If q(z | v) is the posterior, the stationary distribution
of the chain is p(v_missing | v_observed). The further q is from the posterior, the further the
chain is from this distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.models.base import BinaryVisibles, Model, SampledPosterior, has_codes
from vaebench.rng import noise
from vaebench.work.steps import Box, steps

CASES = 100
"""Examples whose noise comes from one generator, so that no result depends on which others are
measured."""


class Decoding(SampledPosterior, BinaryVisibles):
    """A model of both kinds, for the type checker."""


def decodes(model: Model) -> TypeGuard[Decoding]:
    """Whether a model has bits and a posterior that is sampled at once, as a chain needs."""
    return isinstance(model, SampledPosterior) and has_codes(model)


def missing(kind: str, share: float, shape: tuple[int, ...], cases: int, seed: int) -> Tensor:
    """Return which pixels are missing, (cases, d), bool.

    Args:
        kind: ``random``, where each pixel is missing with one probability, or ``square``, a square
            in the middle with half the sides of the image.
        share: Probability of each pixel, for ``random``.
        shape: Shape of an example, (height, width), perhaps with more sizes of 1; for ``square``.
        cases: Number of examples.
        seed: Seed of the draws for ``random``.

    Raises:
        UserError: For a square in examples that are no images.
    """
    pixels = math.prod(shape)
    if kind == "random":
        # Uniforms are drawn for whole groups of CASES, so that an example's missing pixels do not
        # depend on how many are evaluated.
        blocks = range(-(-cases // CASES))
        uniforms = [
            noise.fixed({"u": ("uniform", (CASES, pixels))}, seed, "missing", number)["u"]
            for number in blocks
        ]
        return torch.cat(uniforms)[:cases] < share

    if len(shape) < 2:
        raise UserError("eval.imputation=square: for images; allowed here: random")

    height, width = shape[-2:]
    top = height // 4
    left = width // 4

    hidden = torch.zeros(height, width, dtype=torch.bool)
    hidden[top : top + height // 2, left : left + width // 2] = True
    return hidden.flatten().expand(cases, -1)


def states(
    model: Decoding, x: Tensor, hidden: Tensor, count: int, seed: int, *index: int
) -> Iterator[Tensor]:
    """Yield the images of the chain, (n, d) each: at the start, then after each step.

    Args:
        model: A model of bits that gives q(z | x) and p(x | z).
        x: Examples (n, d); their missing pixels are not used.
        hidden: Which pixels are missing, (n, d).
        count: Number of steps.
        seed: Seed of the chain.
        index: Numbers that distinguish the chain from others of that seed.
    """
    uniform = {"pixels": ("uniform", tuple(x.shape))}
    start = noise.fixed(uniform, seed, "impute", *index, 0, device=x.device)["pixels"]
    v = torch.where(hidden, (start < 0.5).to(x.dtype), x)
    yield v

    for t in range(1, count + 1):
        # One draw for the posterior and the pixels, under the number of the step.
        shapes = {**model.posterior_noise(1, len(x)), **uniform}
        draws = {
            k: e.to(x.dtype)
            for k, e in noise.fixed(shapes, seed, "impute", *index, t, device=x.device).items()
        }
        pixels = draws.pop("pixels")

        # Every missing pixel is drawn anew; observed pixels keep their values.
        with torch.no_grad():
            z = model.posterior(v).sample(1, draws)
            imputed = model.sample_visible(z, pixels.unsqueeze(0))[0]
        v = torch.where(hidden, imputed.to(x.dtype), x)
        yield v


def errors(
    model: Decoding, x: Tensor, hidden: Tensor, count: int, chains: int, seed: int
) -> Tensor:
    """Return the share of the missing pixels that are wrong, (chains, count + 1, n).

    The shares are those at the start and after each step. An example without missing pixels has
    the share 0. Within a ``steps.Work`` the computation can be stopped and resumed.

    Args:
        model: A model as for ``states``.
        x: Examples (n, d).
        hidden: Which pixels are missing, (n, d).
        count: Steps of a chain.
        chains: Independent chains for each example.
        seed: Seed of the chains.
    """
    x = x.to(model.mean.dtype)
    groups = list(zip(x.split(CASES), hidden.split(CASES), strict=True))
    results = Box(found=[])
    for step in steps("imputation", len(groups) * chains, results):
        block, chain = divmod(step, chains)
        group, hidden_in_group = groups[block]

        # Noise is drawn for CASES examples, so a short last group is filled up with copies, which
        # are not counted.
        batch = len(group)
        full_group = torch.cat([group, group[-1:].expand(CASES - batch, -1)])
        full_hidden = torch.cat([hidden_in_group, hidden_in_group[-1:].expand(CASES - batch, -1)])
        number_missing = hidden_in_group.sum(1).clamp(min=1)

        chain_states = states(model, full_group, full_hidden, count, seed, block, chain)
        wrong = [
            ((v[:batch] != group) & hidden_in_group).sum(1) / number_missing for v in chain_states
        ]
        results.found = [*results.found, torch.stack(wrong).double()]

    # (chains, count + 1, examples) of every group, joined along the examples.
    by_group = [
        torch.stack(results.found[i * chains : (i + 1) * chains]) for i in range(len(groups))
    ]
    return torch.cat(by_group, -1)
