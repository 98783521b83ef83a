"""All randomness of training, drawn in blocks of updates that are a function of (seed, purpose, block) alone."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vaebench import seeds

BLOCK = 100
"""Updates per block where the objective does not say otherwise. Part of what a run is: another value would give other

(equally good) numbers.
"""

Shapes = dict[str, tuple[str, tuple[int, ...]]]


def _generator(device: torch.device, seed: int, purpose: str, *index: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seeds.derive(seed, purpose, *index))


def draw(shapes: Shapes, generator: torch.Generator, lead: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Noise name -> tensor (*lead, *shape) on the generator's device: 'uniform' on [0, 1) or standard 'normal'.

    Drawn in the order of ``shapes``. Raises ValueError for another kind.
    """
    out = {}
    for name, (kind, shape) in shapes.items():
        if kind not in ("uniform", "normal"):
            raise ValueError(f"noise {name}: kind {kind!r} is neither 'uniform' nor 'normal'")
        make = torch.rand if kind == "uniform" else torch.randn
        out[name] = make(*lead, *shape, generator=generator, device=generator.device)
    return out


def fixed(
    shapes: Shapes, seed: int, purpose: str, *index: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Noise that depends on (seed, purpose, index) only, for validation and evaluation."""
    return draw(shapes, _generator(torch.device(device), seed, purpose, *index))


def random_bits(shape: tuple[int, ...], seed: int, *index: int) -> Tensor:
    """Bits of ``shape`` as uint8, a function of (seed, index) alone: where chains start."""
    return (fixed({"bits": ("uniform", shape)}, seed, "chains", *index)["bits"] < 0.5).to(torch.uint8)


def update_block(
    shapes: Shapes, run_seeds: list[int], block: int, device: torch.device, length: int | None = None
) -> dict[str, Tensor]:
    """Noise of the updates block * length ... for all seeds of a pack: name -> (length, seeds, *shape).

    ``length`` None: BLOCK, here and below.
    """
    each = [draw(shapes, _generator(device, s, "noise", block), (length or BLOCK,)) for s in run_seeds]
    return {name: _beside([e[name] for e in each]) for name in shapes}


def order_block(
    cases: int, batch: int, order: str, run_seeds: list[int], block: int, length: int | None = None
) -> Tensor:
    """Row numbers of the training cases of each update of a block: (length, seeds, batch), int64, on the CPU.

    ``replacement``: uniform draws. ``shuffle``: one permutation of all cases after the other.
    """
    length = length or BLOCK
    if order == "replacement":
        cpu = torch.device("cpu")
        each = [torch.randint(cases, (length, batch), generator=_generator(cpu, s, "order", block)) for s in run_seeds]
    else:
        start = block * length * batch
        each = [_shuffled(cases, s, start, length * batch).reshape(length, batch) for s in run_seeds]
    return _beside(each)


def _shuffled(cases: int, seed: int, start: int, count: int) -> Tensor:
    """Positions start ... start + count of the endless sequence of permutations of a seed."""
    parts, position = [], start
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
    shape: tuple[int, ...], run_seeds: list[int], block: int, device: torch.device, length: int | None = None
) -> Tensor:
    """Uniform noise (length, seeds, *shape) that binarizes grey training cases anew at each visit."""
    each = [
        torch.rand(length or BLOCK, *shape, generator=_generator(device, s, "binarize", block), device=device)
        for s in run_seeds
    ]
    return _beside(each)


def _beside(each: list[Tensor]) -> Tensor:
    """Blocks (length, ...) of several seeds as (length, seeds, ...); that of one seed is not copied."""
    return each[0].unsqueeze(1) if len(each) == 1 else torch.stack(each, dim=1)
