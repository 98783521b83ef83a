"""All randomness of training, drawn in blocks of updates.

A block is a function of (seed, purpose, block number), of what is drawn (kinds, shapes, updates of
a block) and of the kind of device: a CPU and a GPU draw different numbers. Nothing else matters,
such as what was drawn before, or which seeds are trained together.
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
"""Updates per block, if the objective does not set its own number. Runs depend on it: another value
would give other (equally good) results."""

WORTH_A_KERNEL = 5_000
"""Smallest count of numbers that a kernel draws faster than PyTorch. For fewer, copying the
generator's state takes too long."""

Shapes = dict[str, tuple[str, tuple[int, ...]]]

LOW = ".low"
"""Suffix of the name under which the lower digits of a noise are stored."""


def _generator(device: torch.device, seed: int, purpose: str, *index: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seeds.derive(seed, purpose, *index))


def draw(
    shapes: Shapes, generator: torch.Generator, lead: tuple[int, ...] = ()
) -> dict[str, Tensor]:
    """Draw the noise that ``shapes`` describes, in its order.

    Args:
        shapes: Noise name -> (kind, shape). The kinds are ``uniform`` on (0, 1); standard
            ``normal``; ``dithered``: uniforms that are cheap to draw for many chains, see there;
            ``digits``: the same numbers as two tensors, the second under the name + LOW.
        generator: Its device is that of the noise.
        lead: Leading axes of every tensor.

    Returns:
        Noise name -> tensor (*lead, *shape).

    Raises:
        ValueError: For another kind.
    """
    # All names draw from one generator, so their order must stay: it decides every number.
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
    """Move noise on [0, 1] into the open interval (0, 1): only exact zeros and ones change.

    A zero becomes the middle of the cell that it stands for: 2^-25 in float32. Zeros come once in
    2^24 draws. A comparison of a zero with sigmoid(logit), or of its logarithm, comes out the same
    whatever the logit is, so a hard sampler would return bits of probability exp(-1000).
    """
    return torch.where(u > 0, u, _least(u.dtype)).clamp(max=1.0 - torch.finfo(u.dtype).eps / 2)


def _least(dtype: torch.dtype) -> float:
    """Return what replaces a zero: half the step between the uniforms of a type."""
    return torch.finfo(dtype).eps / 4


def uniform_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill ``out`` with uniforms on (0, 1), in place.

    The numbers are the same with and without kernels.
    """
    if _by_kernel(out, generator):
        from vaebench.kernels import twister

        if twister.equals_torch():
            twister.fill(out, generator, _least(out.dtype))
            return out
    return out.uniform_(generator=generator).clamp_(min=_least(out.dtype))


def _by_kernel(out: Tensor, generator: torch.Generator) -> bool:
    """Whether a kernel draws faster, which is not so if it would have to be loaded first."""
    on_cpu = out.device.type == generator.device.type == "cpu"
    fits = (
        on_cpu
        and out.dtype == torch.float32
        and out.is_contiguous()
        and out.numel() >= WORTH_A_KERNEL
    )
    # Loading the compiler takes up to a second, so no draw waits for it.
    return fits and kernels.allowed() and kernels.loaded()


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniforms on (0, 1), float32, on the generator's device: torch.rand without zeros."""
    return uniform_(torch.empty(shape, device=generator.device), generator)


class Digits(NamedTuple):
    """``dithered`` noise as it is drawn: upper and lower digits apart.

    It is for loops that take one number after the other, and needs a quarter of the memory traffic.

    Attributes:
        high: The upper digits, (..., c, n) int16.
        low: The lower digits as floats, (..., 1, n), shared along c.
    """

    high: Tensor
    low: Tensor

    def uniforms(self) -> Tensor:
        """Return the numbers, (..., c, n) float32.

        Each is a multiple of 2^-24 below 1, which a float holds exactly.
        """
        return self.high.to(torch.float32).mul_(2.0**-16).add_(self.low)


def digits(shape: tuple[int, ...], generator: torch.Generator) -> Digits:
    """Draw the digits of uniforms (..., c, n) on the CPU; see ``dithered``.

    Raises:
        ValueError: For fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"dithered noise of shape {shape}: needs an axis of chains and one of units"
        )

    # The lowest bit is set, because odd multiples of 2^-24 are neither 0 nor 1 and lie
    # symmetrically about 1/2.
    low = torch.randint(256, (*shape[:-2], 1, shape[-1]), generator=generator) | 1

    # Upper digits: torch's generator only seeds NumPy's, a 64-bit word of which is four int16.
    source = np.random.SFC64(int(torch.randint(2**63 - 1, (), generator=generator)))
    count = math.prod(shape)
    high = torch.from_numpy(_words(source, -(-count // 4)).view(np.int16))[:count].reshape(shape)

    # int16 begins at -2^15; the half moves the numbers to (0, 1).
    return Digits(high, low.to(torch.float32).mul_(2.0**-24).add_(0.5))


def _words(source: np.random.SFC64, count: int) -> np.ndarray:
    """Return the next 64-bit words of a generator that is not used again afterwards.

    The words are the same with and without kernels.
    """
    if count >= WORTH_A_KERNEL and kernels.allowed() and kernels.loaded():
        from vaebench.kernels import sfc

        return sfc.words(source, count)
    return source.random_raw(count)


def taken(noise: dict[str, Tensor], name: str) -> Tensor | Digits:
    """Return the noise of that name, whether it was drawn as ``dithered`` or as ``digits``."""
    low = noise.get(name + LOW)
    return noise[name] if low is None else Digits(noise[name], low)


def dithered(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniforms (..., c, n) on (0, 1) that are cheap, for c chains side by side.

    Each number by itself is uniform on (k + 1/2) 2^-23, k = 0 ... 2^23 - 1. On the CPU the upper 16
    bits of a number are its own; the lower 7 are shared along c. Numbers that differ in any index
    but c's are independent. So a chain that takes only one row c of each (c, n) never meets a
    shared digit twice, and moves by its exact law. Two chains depend on each other only through the
    digits below 2^-16.

    On the CPU this takes a third of torch.rand's time. That matters if an update draws millions of
    numbers, since it then spends most of its time on them. One 64-bit word makes four numbers, and
    numpy's SFC64, whose stream is the same in every version, makes a word in half the time of
    torch's mt19937. On other devices the numbers are those of ``uniform``.

    Raises:
        ValueError: For fewer than two axes.
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
    """Draw standard normal numbers, float32, on the generator's device."""
    return torch.randn(*shape, generator=generator, device=generator.device)


KINDS = {"uniform": uniform, "normal": normal, "dithered": dithered}
"""Kinds of noise: (shape, generator) -> float32 tensor of that shape on the generator's device."""


def fixed(
    shapes: Shapes, seed: int, purpose: str, *index: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Draw noise that depends on (seed, purpose, index) only, for validation and evaluation."""
    return draw(shapes, _generator(torch.device(device), seed, purpose, *index))


def fixed_(out: dict[str, Tensor], seed: int, purpose: str, *index: int) -> None:
    """Fill ``out`` in place with what ``fixed`` draws, if all of its noise is uniform."""
    device = next(iter(out.values())).device
    generator = _generator(device, seed, purpose, *index)

    # In the order of ``out``, which must be that of the shapes, as in ``draw``.
    for v in out.values():
        uniform_(v, generator)


def random_bits(shape: tuple[int, ...], seed: int, *index: int) -> Tensor:
    """Draw the bits at which chains start, uint8 of ``shape``, as a function of (seed, index)."""
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
    """Draw the noise of the updates block * length ... for all seeds of a pack.

    Args:
        shapes: See ``draw``.
        run_seeds: The seeds of the pack.
        block: Number of the block, from 0.
        device: Device of the noise.
        length: Updates per block; None: BLOCK, here and below.

    Returns:
        Noise name -> (length, seeds, *shape).
    """
    # Every seed has a generator of its own, so it draws the same in any pack.
    by_seed = [
        draw(shapes, _generator(device, s, "noise", block), (length or BLOCK,)) for s in run_seeds
    ]
    return {name: _beside([noise[name] for noise in by_seed]) for name in by_seed[0]}


def order_block(
    cases: int, batch: int, order: str, run_seeds: list[int], block: int, length: int | None = None
) -> Tensor:
    """Choose the training examples of every update of a block.

    Args:
        cases: How many training examples there are.
        batch: Examples of one update and seed.
        order: ``replacement``: uniform draws with replacement. ``shuffle``: one permutation of all
            examples after the other.
        run_seeds: The seeds of the pack.
        block: Number of the block, from 0.
        length: Updates per block.

    Returns:
        Row numbers (length, seeds, batch), int64, on the CPU.
    """
    # Always on the CPU, so that a run visits the same examples on every device.
    length = length or BLOCK
    if order == "replacement":
        cpu = torch.device("cpu")
        by_seed = [
            torch.randint(cases, (length, batch), generator=_generator(cpu, s, "order", block))
            for s in run_seeds
        ]
    else:
        # Position in the endless sequence of permutations at which the block begins. A block may
        # begin and end anywhere within a permutation.
        start = block * length * batch
        by_seed = [
            _shuffled(cases, s, start, length * batch).reshape(length, batch) for s in run_seeds
        ]
    return _beside(by_seed)


def _shuffled(cases: int, seed: int, start: int, count: int) -> Tensor:
    """Return ``count`` entries of a seed's endless sequence of permutations, from ``start`` on."""
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
    """Draw the uniform noise by which grey training examples are binarized anew at every visit.

    Returns:
        Noise (length, seeds, *shape).
    """
    by_seed = [
        torch.rand(
            length or BLOCK,
            *shape,
            generator=_generator(device, s, "binarize", block),
            device=device,
        )
        for s in run_seeds
    ]
    return _beside(by_seed)


def _beside(by_seed: list[Tensor]) -> Tensor:
    """Join blocks (length, ...) of several seeds to one (length, seeds, ...).

    The block of a single seed is not copied.
    """
    return by_seed[0].unsqueeze(1) if len(by_seed) == 1 else torch.stack(by_seed, dim=1)
