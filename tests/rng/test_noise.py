"""Noise in blocks: a function of (seed, purpose, block) and of the declared kind, the same
whichever seeds are trained beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaebench.rng import noise, seeds

CPU = torch.device("cpu")
SHAPES = {"u": ("uniform", (3, 50)), "n": ("normal", (40,))}
CHAINS = {"d": ("dithered", (3, 7, 5)), "u": ("uniform", (4,)), "e": ("dithered", (5, 3))}


def test_kinds_and_shapes():
    """At least 8,000 numbers of each kind. Means and variances lie within 4.5 standard errors; one
    of the four leaves them once in 37,000 seeds."""
    draws = noise.update_block(SHAPES, [0, 1], 0, CPU)
    assert {k: tuple(v.shape) for k, v in draws.items()} == {
        "u": (100, 2, 3, 50),
        "n": (100, 2, 40),
    }

    u = draws["u"].double()
    n = draws["n"].double()

    assert u.min() > 0
    assert u.max() < 1
    # A uniform number has the variance 1/12, the sample variance of n of them 1/(180 n).
    assert abs(u.mean() - 0.5) < 4.5 * (1 / 12 / u.numel()) ** 0.5
    assert abs(u.var() - 1 / 12) < 4.5 * (1 / 180 / u.numel()) ** 0.5
    assert abs(n.mean()) < 4.5 * n.numel() ** -0.5
    assert abs(n.var() - 1) < 4.5 * (2 / n.numel()) ** 0.5


def test_uniform_and_normal_numbers_are_torchs_own():
    """Runs on record were drawn so: one generator for a block, its kinds in their order."""
    draws = noise.update_block(SHAPES, [3], 2, CPU, 4)
    generator = torch.Generator().manual_seed(seeds.derive(3, "noise", 2))

    # torch.rand may draw an exact 0, which ours never is. With this seed it draws none.
    assert torch.equal(draws["u"][:, 0], torch.rand(4, 3, 50, generator=generator))
    assert torch.equal(draws["n"][:, 0], torch.randn(4, 40, generator=generator))


def test_uniform_noise_has_no_zero_and_no_one(monkeypatch):
    """Whatever torch draws: its smallest number, 0, and its largest, 1 - 2^-24,
    come out strictly inside."""
    for worst in (0.0, 1.0 - 2.0**-24):
        monkeypatch.setattr(
            torch.Tensor, "uniform_", lambda self, generator, v=worst: self.fill_(v)
        )
        for dtype in (torch.float32, torch.float64):
            u = noise.uniform_(torch.empty(3, dtype=dtype), torch.Generator())
            assert 0 < u.min() <= u.max() < 1

        u = noise.update_block({"u": ("uniform", (5,))}, [0], 0, CPU, 1)["u"]
        assert 0 < u.min() <= u.max() < 1

    assert torch.equal(
        noise.inside(torch.tensor([0.0, 2.0**-24, 0.5])), torch.tensor([2.0**-25, 2.0**-24, 0.5])
    )


def test_dithered_noise_has_no_zero_and_no_one(monkeypatch):
    """All 24 bits 0, and all 1: the ends of what the generators can give."""
    # A word holds the upper 16 bits of four numbers as int16: -2^15 stands for 0, 2^15 - 1 for all
    # ones.
    for word, digit in ((0x8000, 0), (0x7FFF, 255)):
        words = np.full(2, np.uint16(word), dtype=np.uint16)

        class Source:
            def __init__(self, seed): ...

            def random_raw(self, n, words=words):
                return np.tile(words, 2 * n).view(np.uint64)

        # Both generators give one extreme: numpy's the upper 16 bits, torch's the lower byte. torch
        # also draws the seed of numpy's generator, which may be any number.
        monkeypatch.setattr(np.random, "SFC64", Source)
        monkeypatch.setattr(
            torch,
            "randint",
            lambda top, shape, generator, d=digit: torch.full(shape, min(d, top - 1)),
        )

        u = noise.dithered((2, 3), torch.Generator())
        assert 0 < u.min() <= u.max() < 1
        # The lowest bit is always set, so the least number is one step of 2^-24, not 0.
        assert torch.equal(u, torch.full((2, 3), 2.0**-24 if digit == 0 else 1 - 2.0**-24))


def dithered(*shape, seed=0):
    return noise.dithered(shape, torch.Generator().manual_seed(seed))


def digits(u):
    """The 24 bits of each number as an integer."""
    exact = u.double() * 2**24
    assert torch.equal(exact, exact.floor())
    return exact.long()


def test_dithered_numbers_are_uniform_in_every_digit():
    """Of 2^22 independent numbers: a chi-square test of the values of each byte, and how many lie
    near both ends.

    The lowest byte has odd values only, so that no number is 0.

    Near an end 16, 256 or 65,536 numbers are expected. Numbers of 16 bits alone would give none
    below 2^-18, or four times as many. There are nine z; one exceeds 5 once in 200,000 seeds."""
    u = dithered(4096, 1, 1024)
    assert u.dtype == torch.float32

    whole = digits(u).flatten()
    assert 0 <= whole.min() <= whole.max() < 2**24
    assert torch.all(whole & 1 == 1)

    # The seven upper bits of the lowest byte, then the two bytes above. Chi-square with v - 1
    # degrees of freedom has the variance 2 (v - 1).
    for values, digit in (
        (128, whole >> 1 & 127),
        (256, whole >> 8 & 255),
        (256, whole >> 16 & 255),
    ):
        expected = len(whole) / values
        counts = torch.bincount(digit, minlength=values).double()
        chi2 = float(((counts - expected) ** 2 / expected).sum())

        assert abs(chi2 - (values - 1)) < 5 * (2 * (values - 1)) ** 0.5

    # Below 2^-bits, and as near to 1. The count is binomial, its variance about its mean.
    for bits in (18, 14, 6):
        expected_near = len(whole) / 2**bits
        for near in (whole < 2 ** (24 - bits), whole >= 2**24 - 2 ** (24 - bits)):
            assert abs(int(near.sum()) - expected_near) < 5 * expected_near**0.5


def test_dithered_numbers_share_their_last_byte_among_chains_and_nothing_else():
    """Correlations in each direction: five of 120,000 pairs or more with the upper digits, two of
    4,680 or more among the shared digits. Seven z; one exceeds 5 once in 250,000 seeds."""
    whole = digits(dithered(2, 40, 50, 60))
    low = whole & 255
    high = (whole >> 8).double() / 2**16 - 0.5

    # The axes are (2, 40, chains, units). Each column of 50 chains shares its lowest byte.
    assert torch.equal(low, low[:, :, :1].expand_as(low))

    # The shared digits once, (2, 40, units), without the bit that is always set.
    shared = (low[:, :, 0] >> 1).double() / 128 - 0.5
    pairs = [(high[0], high[1]), (high[:, 1:], high[:, :-1]), (high[:, :, 1:], high[:, :, :-1])]
    pairs += [(high[..., 1:], high[..., :-1]), (high, shared.unsqueeze(2).expand_as(high))]

    for a, b in [*pairs, (shared[:, 1:], shared[:, :-1]), (shared[..., 1:], shared[..., :-1])]:
        # Variance 1/12 each: the mean product of n pairs has the error 1 / (12 sqrt(n)).
        assert abs(float((a * b).mean())) * 12 * a.numel() ** 0.5 < 5


def test_dithered_blocks_and_seeds_are_independent_of_each_other_and_of_other_noise():
    """100,000 pairs each of other seeds, blocks, names and kinds: no correlation, and no more equal
    numbers than by chance."""
    shapes = {
        "a": ("dithered", (20, 50, 100)),
        "b": ("dithered", (20, 50, 100)),
        "u": ("uniform", (20, 50, 100)),
    }
    first = noise.update_block(shapes, [0, 1], 0, CPU, 1)
    second = noise.update_block(shapes, [0], 1, CPU, 1)
    a = first["a"][0, 0]

    for b in (first["a"][0, 1], second["a"][0, 0], first["b"][0, 0], first["u"][0, 0]):
        assert abs(float(((a - 0.5) * (b - 0.5)).double().mean())) * 12 * a.numel() ** 0.5 < 5
        # Two numbers are equal once in 2^23 times at most: 0.01 of 100,000 pairs.
        assert int((a == b).sum()) < 5


def test_dithered_noise_needs_an_axis_of_chains():
    with pytest.raises(ValueError, match=r"dithered noise of shape \(7,\)"):
        dithered(7)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="noise a: kind 'gaussian'"):
        noise.fixed({"a": ("gaussian", (2,))}, 0, "noise")


@pytest.mark.parametrize(
    "block_of",
    [
        lambda seeds, block: noise.update_block(SHAPES, seeds, block, CPU)["u"],
        lambda seeds, block: noise.update_block(CHAINS, seeds, block, CPU, 2)["d"],
        lambda seeds, block: noise.update_block(CHAINS, seeds, block, CPU, 1)["e"],
        lambda seeds, block: noise.binarize_block((4, 6), seeds, block, CPU),
        lambda seeds, block: noise.order_block(1000, 5, "replacement", seeds, block),
        lambda seeds, block: noise.order_block(1000, 5, "shuffle", seeds, block),
    ],
    ids=["update", "dithered", "dithered after others", "binarize", "replacement", "shuffle"],
)
def test_a_seed_draws_the_same_alone_and_beside_others(block_of):
    together = block_of([0, 1, 2], 4)

    for r, seed in enumerate([0, 1, 2]):
        assert torch.equal(together[:, r], block_of([seed], 4)[:, 0])

    assert torch.equal(together[:, [2, 0]], block_of([2, 0], 4))
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together, block_of([0, 1, 2], 5))


def test_purposes_do_not_share_numbers():
    shapes = {"u": ("uniform", (100,))}
    valid, evaluation = (noise.fixed(shapes, 0, purpose)["u"] for purpose in ("valid", "eval"))

    # Not the same numbers in another order either.
    assert not torch.isin(valid, evaluation).any()

    assert torch.equal(valid, noise.fixed(shapes, 0, "valid")["u"])
    assert not torch.equal(valid, noise.fixed(shapes, 0, "valid", 1)["u"])


def test_draws_with_replacement_cover_the_cases_evenly():
    """10,000 draws of 10 cases; ten z, above 4.5 by chance once in 15,000 seeds."""
    order = torch.cat(
        [noise.order_block(10, 20, "replacement", [3], b).reshape(-1) for b in range(5)]
    )
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

    # Of few examples two permutations in a row may be equal by chance.
    if cases > 5 and len(epochs) > 1:
        assert not torch.equal(epochs[0], epochs[1])


def test_a_block_of_shuffled_cases_needs_no_block_before_it():
    late = noise.order_block(33, 4, "shuffle", [0], 9)
    noise._permutation.cache_clear()
    assert torch.equal(noise.order_block(33, 4, "shuffle", [0], 9), late)


def test_random_bits():
    bits = noise.random_bits((2000, 3), 5, 1)

    assert bits.dtype == torch.uint8
    # Five standard errors of 6,000 bits.
    assert abs(float(bits.double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(6000)
    assert torch.equal(bits, noise.random_bits((2000, 3), 5, 1))
    assert not torch.equal(bits, noise.random_bits((2000, 3), 5, 2))
    assert not torch.equal(bits, noise.random_bits((2000, 3), 6, 1))
