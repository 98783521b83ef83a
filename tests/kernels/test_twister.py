"""Uniforms by the kernel are PyTorch's, bit for bit, and leave its
generator as it would have been."""

from __future__ import annotations

import pytest
import torch

from vaebench import kernels
from vaebench.rng import noise

pytest.importorskip("numba")

from vaebench.kernels import twister

COUNTS = [1, 3, 620, 623, 624, 625, 1247, 1248, 30_000]
"""Numbers drawn one after the other: few, many, and up to the ends of the generator's state of 624
words or one beyond it."""


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 12345])
def test_numbers_and_generator_are_those_of_torch(seed):
    our_generator = torch.Generator().manual_seed(seed)
    torch_generator = torch.Generator().manual_seed(seed)

    for count in COUNTS:
        out = torch.empty(count)
        twister.fill(out, our_generator, 0.0)

        assert torch.equal(out, torch.empty(count).uniform_(generator=torch_generator))
        assert torch.equal(our_generator.get_state(), torch_generator.get_state())
        # Other kinds of numbers between them: a normal, of which torch may keep one for later.
        for draw in (torch.randn, torch.rand):
            assert torch.equal(draw(3, generator=our_generator), draw(3, generator=torch_generator))

    assert twister.equals_torch()


def test_none_is_below_the_least():
    out = torch.empty(2000)
    twister.fill(out, torch.Generator().manual_seed(1), 0.25)
    drawn = torch.empty(2000).uniform_(generator=torch.Generator().manual_seed(1))

    # Some numbers were raised, or the comparison would show nothing.

    assert drawn.min() < 0.25
    assert torch.equal(out, drawn.clamp(min=0.25))


def test_noise_is_the_same_with_and_without_kernels(monkeypatch):
    """Large and small tensors take turns. The kernel draws the large ones alone, if kernels are
    allowed."""
    filled = []
    fill = twister.fill
    monkeypatch.setattr(
        twister, "fill", lambda out, *args: (filled.append(out.numel()), fill(out, *args))
    )
    shapes = {
        "a": ("uniform", (7, 1000)),
        "b": ("normal", (5,)),
        "c": ("uniform", (9,)),
        "d": ("uniform", (2, 5000)),
    }
    draws = {}
    for by_kernel in (True, False):
        with kernels.use(by_kernel):
            draws[by_kernel] = noise.fixed(shapes, 3, "eval", 1)

    assert filled == [7000, 10_000]
    for name in shapes:
        assert torch.equal(draws[True][name], draws[False][name])


def test_another_generator_of_torch_is_noticed(monkeypatch):
    """If PyTorch draws other numbers than the kernel, PyTorch's are taken."""
    # A kernel whose numbers end at 1/2 is as wrong as one for another version of PyTorch.
    monkeypatch.setattr(
        twister, "fill", lambda out, generator, least: out.uniform_(0, 0.5, generator=generator)
    )
    twister.equals_torch.cache_clear()

    try:
        assert not twister.equals_torch()
        out = noise.uniform((10_000,), torch.Generator().manual_seed(2))
    finally:
        twister.equals_torch.cache_clear()

    assert torch.equal(out, torch.rand(10_000, generator=torch.Generator().manual_seed(2)))
