"""Noise in blocks: a function of (seed, purpose, block), of the declared kind, the same whoever trains beside."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench import noise

CPU = torch.device("cpu")
SHAPES = {"u": ("uniform", (3, 50)), "n": ("normal", (40,))}


def test_kinds_and_shapes():
    """10,000 numbers or more of each kind: means and variances within 4.5 errors (four z, once in 37,000 seeds)."""
    draws = noise.update_block(SHAPES, [0, 1], 0, CPU)
    assert {k: tuple(v.shape) for k, v in draws.items()} == {"u": (100, 2, 3, 50), "n": (100, 2, 40)}
    u, n = draws["u"].double(), draws["n"].double()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4.5 * (1 / 12 / u.numel()) ** 0.5
    assert abs(u.var() - 1 / 12) < 4.5 * (1 / 180 / u.numel()) ** 0.5
    assert abs(n.mean()) < 4.5 * n.numel() ** -0.5
    assert abs(n.var() - 1) < 4.5 * (2 / n.numel()) ** 0.5


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="noise a: kind 'gaussian'"):
        noise.fixed({"a": ("gaussian", (2,))}, 0, "noise")


@pytest.mark.parametrize(
    "block_of",
    [
        lambda seeds, block: noise.update_block(SHAPES, seeds, block, CPU)["u"],
        lambda seeds, block: noise.binarize_block((4, 6), seeds, block, CPU),
        lambda seeds, block: noise.order_block(1000, 5, "replacement", seeds, block),
        lambda seeds, block: noise.order_block(1000, 5, "shuffle", seeds, block),
    ],
    ids=["update", "binarize", "replacement", "shuffle"],
)
def test_a_seed_draws_the_same_alone_and_beside_others(block_of):
    three = block_of([0, 1, 2], 4)
    for r, seed in enumerate([0, 1, 2]):
        assert torch.equal(three[:, r], block_of([seed], 4)[:, 0])
    assert torch.equal(three[:, [2, 0]], block_of([2, 0], 4))
    assert not torch.equal(three[:, 0], three[:, 1])
    assert not torch.equal(three, block_of([0, 1, 2], 5))


def test_purposes_do_not_share_numbers():
    shapes = {"u": ("uniform", (100,))}
    one, other = (noise.fixed(shapes, 0, purpose)["u"] for purpose in ("valid", "eval"))
    assert not torch.isin(one, other).any()
    assert torch.equal(one, noise.fixed(shapes, 0, "valid")["u"])
    assert not torch.equal(one, noise.fixed(shapes, 0, "valid", 1)["u"])


def test_draws_with_replacement_cover_the_cases_evenly():
    """10,000 draws of 10 cases; ten z, above 4.5 by chance once in 15,000 seeds."""
    order = torch.cat([noise.order_block(10, 20, "replacement", [3], b).reshape(-1) for b in range(5)])
    counts = torch.bincount(order, minlength=10)
    assert len(counts) == 10
    assert ((counts - 1000) / (10_000 * 0.1 * 0.9) ** 0.5).abs().max() < 4.5


@pytest.mark.parametrize(("cases", "batch"), [(7, 3), (100, 20), (1, 1), (1000, 7), (30, 40)])
def test_shuffled_epochs_are_permutations_without_gap_or_repeat(cases, batch):
    """Block after block, wherever an epoch ends inside an update or a block."""
    blocks = [noise.order_block(cases, batch, "shuffle", [5], b) for b in range(3)]
    assert all(b.shape == (100, 1, batch) and b.dtype == torch.int64 for b in blocks)
    line = torch.cat([b.reshape(-1) for b in blocks])
    epochs = line[: len(line) // cases * cases].reshape(-1, cases)
    if len(epochs):
        assert torch.equal(epochs.sort(1).values, torch.arange(cases).expand(len(epochs), -1))
    else:
        assert len(line.unique()) == len(line)
    if cases > 5 and len(epochs) > 1:
        assert not torch.equal(epochs[0], epochs[1])


def test_a_block_of_shuffled_cases_needs_no_block_before_it():
    late = noise.order_block(33, 4, "shuffle", [0], 9)
    noise._permutation.cache_clear()
    assert torch.equal(noise.order_block(33, 4, "shuffle", [0], 9), late)


def test_random_bits():
    bits = noise.random_bits((2000, 3), 5, 1)
    assert bits.dtype == torch.uint8
    assert abs(float(bits.double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(6000)
    assert torch.equal(bits, noise.random_bits((2000, 3), 5, 1))
    assert not torch.equal(bits, noise.random_bits((2000, 3), 5, 2))
    assert not torch.equal(bits, noise.random_bits((2000, 3), 6, 1))
