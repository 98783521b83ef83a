"""Random orders and uniforms from a counter: they are uniform, depend on the seed alone, and are
independent of the documents beside."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from vaebench.rng import noise, shuffles


def test_the_hash_is_splitmix64():
    """The reference sequence in whole numbers of Python. It starts from the seed, mixed once."""

    def mixed(v):
        v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        v = (v ^ (v >> 27)) * 0x94D049BB133111EB % 2**64
        return v ^ (v >> 31)

    # The first number of SplitMix64 from 0, as published.
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF

    hashes = shuffles.hashed(torch.tensor([0, 5, 2**47]).unsqueeze(1), torch.arange(4))
    for seed, row in zip((0, 5, 2**47), hashes.tolist(), strict=True):
        expected = [
            mixed((mixed(seed) + (place + 1) * 0x9E3779B97F4A7C15) % 2**64) for place in range(4)
        ]
        # Tensors hold the 64 bits with a sign.
        assert [v % 2**64 for v in row] == expected


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_is_as_probable_as_the_others(size):
    """A chi-square test with a fixed seed, which fails by chance once in a thousand seeds."""
    documents = 24_000
    seed = shuffles.seeds_of(
        noise.fixed({"order": ("uniform", (documents, 2))}, 0, "check")["order"]
    )
    group = torch.arange(documents).repeat_interleave(size)
    # Positions among all members; modulo the size they are places within each document.
    orders = (shuffles.shuffled(group, seed) % size).reshape(documents, size)

    counts = Counter(map(tuple, orders.tolist()))
    every = list(itertools.permutations(range(size)))

    assert set(counts) == set(every)
    assert stats.chisquare([counts[o] for o in every]).pvalue > 1e-3


def test_an_order_depends_on_its_seed_and_size_alone():
    # The seed 9 orders a group of three, once behind other groups and once alone. Group 1 has no
    # members, and its seed, 8, is not used.
    together = shuffles.shuffled(torch.tensor([0, 0, 0, 0, 2, 2, 2]), torch.tensor([7, 8, 9]))
    alone = shuffles.shuffled(torch.tensor([0, 0, 0]), torch.tensor([9]))

    assert together[4:].tolist() == (alone + 4).tolist()
    assert sorted(together[:4].tolist()) == [0, 1, 2, 3]


def test_uniforms_are_uniform_and_inside():
    u = shuffles.uniforms(torch.arange(100).unsqueeze(1), torch.arange(1000))
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    # The seeds are fixed, 0 ... 99: every run of the test finds the same p-value.
    assert stats.kstest(u.flatten().double().numpy(), "uniform").pvalue > 1e-3
    # Numbers of neighbouring seeds: 99,000 pairs, whose correlation has the error 0.0032.
    assert abs(np.corrcoef(u[:-1].flatten(), u[1:].flatten())[0, 1]) < 0.01
