"""All randomness of training, in blocks of updates.

A block is a function of (seed, purpose, block) alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebench import kernels
from vaebench.rng import seeds

BLOCK = 100
"""Updates per block where the objective does not say otherwise. Part of what a run is: another
value would give other (equally good) numbers."""

WORTH_A_KERNEL = 5_000
"""Numbers from which on a kernel draws them faster than PyTorch, although the
generator's state is copied."""

Shapes = dict[str, tuple[str, tuple[int, ...]]]

LOW = ".low"
"""What is added to a name for the lower digits of its noise."""


def _generator(device: torch.device, seed: int, purpose: str, *index: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seeds.derive(seed, purpose, *index))


def draw(
    shapes: Shapes, generator: torch.Generator, lead: tuple[int, ...] = ()
) -> dict[str, Tensor]:
    """Noise name -> tensor (*lead, *shape) on the generator's device.

    In the order of ``shapes``, by their kinds. ``uniform`` on (0, 1); standard ``normal``;
    ``dithered``: uniforms that are cheap to draw, for many chains beside each other, see there;
    ``digits``: the same numbers by two tensors, that of the second named name + LOW. Raises
    ValueError for another kind.
    """
    out: dict[str, Tensor] = {}
    for name, (kind, shape) in shapes.items():
        if kind == "digits":
            out[name], out[name + LOW] = digits((*lead, *shape), generator)
        elif kind in KINDS:
            out[name] = KINDS[kind]((*lead, *shape), generator)
        else:
            raise ValueError(f"noise {name}: kind {kind!r} is none of {', '.join(KINDS)}, digits")
    return out


def inside(u: Tensor) -> Tensor:
    """Noise on [0, 1) moved into the open interval (0, 1); all but exact zeros stay as they are.

    A zero becomes the middle of the cell that it stands for: 2^-25 in float32. At exactly 0 a
    comparison with sigmoid(logit) or its logarithm fires whatever the logit is, once in 2^24 draws,
    and a hard sampler then returns bits of probability exp(-1000).
    """
    return torch.where(u > 0, u, _least(u.dtype)).clamp(max=1.0 - torch.finfo(u.dtype).eps / 2)


def _least(dtype: torch.dtype) -> float:
    """What a zero is replaced by: half the step between the uniforms of a type."""
    return torch.finfo(dtype).eps / 4


def uniform_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill ``out`` with uniforms on (0, 1), in place: the same numbers with and without kernels."""
    if _by_kernel(out, generator):
        from vaebench.kernels import twister

        if twister.equals_torch():
            twister.fill(out, generator, _least(out.dtype))
            return out
    return out.uniform_(generator=generator).clamp_(min=_least(out.dtype))


def _by_kernel(out: Tensor, generator: torch.Generator) -> bool:
    """Whether a kernel draws faster. One that has to be loaded first does not."""
    on_cpu = out.device.type == generator.device.type == "cpu"
    fits = (
        on_cpu
        and out.dtype == torch.float32
        and out.is_contiguous()
        and out.numel() >= WORTH_A_KERNEL
    )
    return fits and kernels.allowed() and kernels.loaded()


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniforms on (0, 1), float32, on the generator's device: torch.rand without exact zeros."""
    return uniform_(torch.empty(shape, device=generator.device), generator)


class Digits(NamedTuple):
    """``dithered`` noise as it is drawn.

    ``high`` (..., c, n) int16, its upper digits, and ``low`` (..., 1, n) floats. A quarter of the
    memory traffic, for loops that take one number after the other.
    """

    high: Tensor
    low: Tensor

    def uniforms(self) -> Tensor:
        """The numbers, (..., c, n) float32.

        Each is a multiple of 2^-24 below 1, which a float holds exactly.
        """
        return self.high.to(torch.float32).mul_(2.0**-16).add_(self.low)


def digits(shape: tuple[int, ...], generator: torch.Generator) -> Digits:
    """Digits of uniforms (..., c, n); see ``dithered``. On the CPU.

    Raises ValueError for fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"dithered noise of shape {shape}: needs an axis of chains and one of units"
        )
    # The lowest bit is set: odd multiples of 2^-24 are neither 0 nor 1, and lie
    # symmetrically about 1/2.
    low = torch.randint(256, (*shape[:-2], 1, shape[-1]), generator=generator) | 1
    source = np.random.SFC64(int(torch.randint(2**63 - 1, (), generator=generator)))
    count = math.prod(shape)
    high = torch.from_numpy(_words(source, -(-count // 4)).view(np.int16))[:count].reshape(shape)
    # From -2^15 up, hence the half.
    return Digits(high, low.to(torch.float32).mul_(2.0**-24).add_(0.5))


def _words(source: np.random.SFC64, count: int) -> np.ndarray:
    """The next words of a generator that is not used again: the same with and without kernels."""
    if count >= WORTH_A_KERNEL and kernels.allowed() and kernels.loaded():
        from vaebench.kernels import sfc

        return sfc.words(source, count)
    return source.random_raw(count)


def taken(noise: dict[str, Tensor], name: str) -> Tensor | Digits:
    """The noise of that name, of either kind.

    Whether it was drawn as ``dithered`` or as ``digits``.
    """
    low = noise.get(name + LOW)
    return noise[name] if low is None else Digits(noise[name], low)


def dithered(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniforms (..., c, n) on (0, 1).

    Each by itself is uniform on (k + 1/2) 2^-23, k = 0 ... 2^23 - 1. On the CPU the upper 16 bits
    of every number are its own, the lower 7 are shared along c. Numbers that differ in another
    index than c's are independent, so a chain that takes but one row c of each (c, n), and so never
    meets a shared digit twice, moves by its exact law. Any two chains are dependent through what
    lies below 2^-16 alone.

    There it is a third of torch.rand's time, of which millions of numbers are most of an update: a
    64-bit word makes four numbers, and SFC64 (numpy; its stream is the same in every version) makes
    a word in half the time that torch's mt19937 takes. Elsewhere it is ``uniform``. Raises
    ValueError for fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"dithered noise of shape {shape}: needs an axis of chains and one of units"
        )
    return (
        digits(shape, generator).uniforms()
        if generator.device.type == "cpu"
        else uniform(shape, generator)
    )


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers, float32, on the generator's device."""
    return torch.randn(*shape, generator=generator, device=generator.device)


KINDS = {"uniform": uniform, "normal": normal, "dithered": dithered}
"""Laws of noise: shape, generator -> float32 tensor of that shape on the generator's device."""


def fixed(
    shapes: Shapes, seed: int, purpose: str, *index: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Noise that depends on (seed, purpose, index) only, for validation and evaluation."""
    return draw(shapes, _generator(torch.device(device), seed, purpose, *index))


def fixed_(out: dict[str, Tensor], seed: int, purpose: str, *index: int) -> None:
    """What ``fixed`` gives for noise that is uniform throughout, in place."""
    device = next(iter(out.values())).device
    generator = _generator(device, seed, purpose, *index)
    for v in out.values():
        uniform_(v, generator)


def random_bits(shape: tuple[int, ...], seed: int, *index: int) -> Tensor:
    """Bits of ``shape`` as uint8, a function of (seed, index) alone: where chains start."""
    return (fixed({"bits": ("uniform", shape)}, seed, "chains", *index)["bits"] < 0.5).to(
        torch.uint8
    )


def update_block(
    shapes: Shapes,
    run_seeds: list[int],
    block: int,
    device: torch.device,
    length: int | None = None,
) -> dict[str, Tensor]:
    """Noise of the updates block * length ... for all seeds of a pack.

    Name -> (length, seeds, *shape). ``length`` None: BLOCK, here and below.
    """
    each = [
        draw(shapes, _generator(device, s, "noise", block), (length or BLOCK,)) for s in run_seeds
    ]
    return {name: _beside([e[name] for e in each]) for name in each[0]}


def order_block(
    cases: int, batch: int, order: str, run_seeds: list[int], block: int, length: int | None = None
) -> Tensor:
    """Row numbers of the training cases of each update of a block.

    (length, seeds, batch), int64, on the CPU. ``replacement``: uniform draws. ``shuffle``: one
    permutation of all cases after the other.
    """
    length = length or BLOCK
    if order == "replacement":
        cpu = torch.device("cpu")
        each = [
            torch.randint(cases, (length, batch), generator=_generator(cpu, s, "order", block))
            for s in run_seeds
        ]
    else:
        start = block * length * batch
        each = [
            _shuffled(cases, s, start, length * batch).reshape(length, batch) for s in run_seeds
        ]
    return _beside(each)


def _shuffled(cases: int, seed: int, start: int, count: int) -> Tensor:
    """Positions start ... start + count of the endless sequence of permutations of a seed."""
    parts = []
    position = start
    while position < start + count:
        epoch, offset = divmod(position, cases)
        part = _permutation(cases, seed, epoch)[offset : offset + start + count - position]
        parts.append(part)
        position += len(part)
    return torch.cat(parts)


@lru_cache(maxsize=64)
def _permutation(cases: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(cases, generator=_generator(torch.device("cpu"), seed, "order", epoch))


def binarize_block(
    shape: tuple[int, ...],
    run_seeds: list[int],
    block: int,
    device: torch.device,
    length: int | None = None,
) -> Tensor:
    """Uniform noise (length, seeds, *shape).

    It binarizes grey training cases anew at each visit.
    """
    each = [
        torch.rand(
            length or BLOCK,
            *shape,
            generator=_generator(device, s, "binarize", block),
            device=device,
        )
        for s in run_seeds
    ]
    return _beside(each)


def _beside(each: list[Tensor]) -> Tensor:
    """Blocks (length, ...) of several seeds as (length, seeds, ...).

    That of one seed is not copied.
    """
    return each[0].unsqueeze(1) if len(each) == 1 else torch.stack(each, dim=1)
