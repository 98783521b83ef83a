"""Orders and uniforms by a counter: uniform, a function of the seed alone, and independent of what
stands beside."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from vaebench.rng import noise, shuffles


def test_the_hash_is_splitmix64():
    """The reference sequence of seed 0, one step of the same mixing before it."""

    def mixed(v):
        v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        v = (v ^ (v >> 27)) * 0x94D049BB133111EB % 2**64
        return v ^ (v >> 31)

    # The first number of SplitMix64 from 0, as published.
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF

    found = shuffles.hashed(torch.tensor([0, 5, 2**47]).unsqueeze(1), torch.arange(4))
    for seed, row in zip((0, 5, 2**47), found.tolist(), strict=True):
        wanted = [
            mixed((mixed(seed) + (place + 1) * 0x9E3779B97F4A7C15) % 2**64) for place in range(4)
        ]
        assert [v % 2**64 for v in row] == wanted


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_is_as_probable_as_the_others(size):
    """A chi-square test with a fixed seed, which fails by chance once in a thousand seeds."""
    documents = 24_000
    seed = shuffles.seeds_of(
        noise.fixed({"order": ("uniform", (documents, 2))}, 0, "check")["order"]
    )
    group = torch.arange(documents).repeat_interleave(size)
    orders = (shuffles.shuffled(group, seed) % size).reshape(documents, size)
    found = Counter(map(tuple, orders.tolist()))
    every = list(itertools.permutations(range(size)))

    assert set(found) == set(every)
    assert stats.chisquare([found[o] for o in every]).pvalue > 1e-3


def test_an_order_depends_on_its_seed_and_size_alone():
    together = shuffles.shuffled(torch.tensor([0, 0, 0, 0, 2, 2, 2]), torch.tensor([7, 8, 9]))
    alone = shuffles.shuffled(torch.tensor([0, 0, 0]), torch.tensor([9]))

    assert together[4:].tolist() == (alone + 4).tolist()
    assert sorted(together[:4].tolist()) == [0, 1, 2, 3]


def test_uniforms_are_uniform_and_inside():
    u = shuffles.uniforms(torch.arange(100).unsqueeze(1), torch.arange(1000))
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    assert stats.kstest(u.flatten().double().numpy(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:-1].flatten(), u[1:].flatten())[0, 1]) < 0.01
