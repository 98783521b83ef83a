"""Missing pixels filled in by a Markov chain through the codes.

Rezende, Mohamed & Wierstra 2014, section 6, figure 5.

    z ~ q(z | v_observed, v_missing),  v_missing ~ p(v | z),  the observed pixels stay as they are.

The missing pixels begin as random bits. If q(z | v) is the posterior, the chain's stationary
distribution is p(v_missing | v_observed); the further q is from it, the further the chain is from
that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.models.base import BinaryVisibles, SampledPosterior
from vaebench.rng import noise
from vaebench.work.steps import Box, steps

CASES = 100
"""Cases whose noise comes from one generator, so that no result depends on
which others are measured."""


class Decoding(SampledPosterior, BinaryVisibles):
    """A model of both kinds, for the type checker."""


def missing(kind: str, share: float, shape: tuple[int, ...], cases: int, seed: int) -> Tensor:
    """Which pixels are missing, (cases, d), bool.

    Args:
        kind: ``random``, each pixel with one probability, or ``square``, half the
            sides and in the middle.
        share: Probability of each pixel, for ``random``.
        shape: Of an example, (height, width) with more sizes of 1 perhaps; for ``square``.
        cases: How many.
        seed: Of the draws for ``random``.

    Raises:
        UserError: For a square of examples that are no images.
    """
    size = math.prod(shape)
    if kind == "random":
        blocks = range(-(-cases // CASES))
        drawn = [
            noise.fixed({"u": ("uniform", (CASES, size))}, seed, "missing", number)["u"]
            for number in blocks
        ]
        return torch.cat(drawn)[:cases] < share

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
    """The images of the chain, (n, d) each: at the start, then after each of ``count`` steps.

    Args:
        model: Gives q(z | x) and p(x | z), of bits.
        x: Examples (n, d); their missing pixels are not looked at.
        hidden: Which are missing, (n, d).
        count: Steps.
        seed: Of the chain.
        index: What tells it from others of that seed.
    """
    uniform = {"pixels": ("uniform", tuple(x.shape))}
    start = noise.fixed(uniform, seed, "impute", *index, 0, device=x.device)["pixels"]
    v = torch.where(hidden, (start < 0.5).to(x.dtype), x)
    yield v
    for t in range(1, count + 1):
        shapes = {**model.posterior_noise(1, len(x)), **uniform}
        drawn = {
            k: e.to(x.dtype)
            for k, e in noise.fixed(shapes, seed, "impute", *index, t, device=x.device).items()
        }
        pixels = drawn.pop("pixels")
        with torch.no_grad():
            z = model.posterior(v).sample(1, drawn)
            made = model.sample_visible(z, pixels.unsqueeze(0))[0]
        v = torch.where(hidden, made.to(x.dtype), x)
        yield v


def errors(
    model: Decoding, x: Tensor, hidden: Tensor, count: int, chains: int, seed: int
) -> Tensor:
    """The share of the missing pixels that are wrong, (chains, count + 1, n).

    At the start and after each step. A case of which nothing is missing has none wrong. Within a
    ``steps.Work`` it can be stopped, and gone on with.

    Args:
        model: See ``states``.
        x: Examples (n, d).
        hidden: Which pixels are missing, (n, d).
        count: Steps of a chain.
        chains: Independent ones for each case.
        seed: Of the chains.
    """
    x = x.to(model.mean.dtype)
    parts = list(zip(x.split(CASES), hidden.split(CASES), strict=True))
    done = Box(found=[])
    for number in steps("imputation", len(parts) * chains, done):
        block, chain = divmod(number, chains)
        some, gone = parts[block]
        batch = len(some)
        whole = torch.cat([some, some[-1:].expand(CASES - batch, -1)])
        gaps = torch.cat([gone, gone[-1:].expand(CASES - batch, -1)])
        number_missing = gone.sum(1).clamp(min=1)
        walk = states(model, whole, gaps, count, seed, block, chain)
        wrong = [((v[:batch] != some) & gone).sum(1) / number_missing for v in walk]
        done.found = [*done.found, torch.stack(wrong).double()]
    blocks = [torch.stack(done.found[i * chains : (i + 1) * chains]) for i in range(len(parts))]
    return torch.cat(blocks, -1)
