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
    # The words below the current node: first_word to end - 1, split in the middle.
    first_word = 0
    end = len(made.path)

    total = 0.0
    while end - first_word > 1:
        middle = (first_word + end) // 2
        logit = (made.weight[middle - 1] @ h + made.bias[middle - 1]).item()
        p_second = 1 / (1 + math.exp(-logit))

        if word >= middle:
            total += math.log(p_second)
            first_word = middle
        else:
            total += math.log(1 - p_second)
            end = middle

    return total


@pytest.mark.parametrize("vocabulary", [2, 3, 7, 8, 13])
def test_it_sums_to_one_and_equals_a_walk_from_the_root(vocabulary):
    word_tree = tree(vocabulary)
    h = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    log_p = torch.stack([word_tree.log_prob(h, torch.full((5,), w)) for w in range(vocabulary)], 1)

    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(5).double())

    walks = [[walked(word_tree, row, w) for w in range(vocabulary)] for row in h]
    torch.testing.assert_close(log_p, torch.tensor(walks, dtype=torch.float64), rtol=0, atol=1e-12)


def test_it_starts_as_the_unigram():
    rates = np.array([0.5, 0.1, 0.0, 0.25, 0.15])
    word_tree = WordTree(rates, 3)
    with torch.no_grad():
        word_tree.start(torch.Generator())
    probabilities = word_tree.log_prob(torch.zeros(5, 3), torch.arange(5)).exp().detach()

    np.testing.assert_allclose(probabilities, rates, atol=3 * PSEUDO)
    # A word that never occurred keeps a probability.
    assert float(probabilities[2]) > 0


def test_the_depth_is_that_of_a_balanced_tree():
    assert tree(2000).path.shape == (2000, 11)
