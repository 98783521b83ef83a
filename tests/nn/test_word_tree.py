"""The binary tree over a vocabulary: sums to one, equals a walk from the root,
starts as the unigram."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench.nn.word_tree import PSEUDO, WordTree


def tree(vocabulary, units=3, seed=0):
    return drawn(WordTree(np.full(vocabulary, 1 / vocabulary), units).double(), 0.8, seed)


def walked(made, h, word):
    """log p of one word by a walk from the root, written without the tables of the tree."""
    first = 0
    end = len(made.path)
    total = 0.0
    while end - first > 1:
        middle = (first + end) // 2
        logit = (made.weight[middle - 1] @ h + made.bias[middle - 1]).item()
        p_second = 1 / (1 + math.exp(-logit))
        if word >= middle:
            total += math.log(p_second)
            first = middle
        else:
            total += math.log(1 - p_second)
            end = middle
    return total


@pytest.mark.parametrize("vocabulary", [2, 3, 7, 8, 13])
def test_it_sums_to_one_and_equals_a_walk_from_the_root(vocabulary):
    made = tree(vocabulary)
    h = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    every = torch.stack([made.log_prob(h, torch.full((5,), w)) for w in range(vocabulary)], 1)
    torch.testing.assert_close(every.exp().sum(1), torch.ones(5).double())
    wanted = [[walked(made, row, w) for w in range(vocabulary)] for row in h]
    torch.testing.assert_close(every, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-12)


def test_it_starts_as_the_unigram():
    rates = np.array([0.5, 0.1, 0.0, 0.25, 0.15])
    made = WordTree(rates, 3)
    with torch.no_grad():
        made.start(torch.Generator())
    found = made.log_prob(torch.zeros(5, 3), torch.arange(5)).exp().detach()
    np.testing.assert_allclose(found, rates, atol=3 * PSEUDO)
    assert float(found[2]) > 0


def test_the_depth_is_that_of_a_balanced_tree():
    assert tree(2000).path.shape == (2000, 11)
