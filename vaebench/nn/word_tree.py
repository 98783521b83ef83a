"""A balanced binary tree over a vocabulary (Larochelle & Lauly 2012).

log p(word) is a sum over the turns from the root to the word's leaf. The range of word numbers is
halved until one word is left, so a probability costs log2(V) logits instead of V.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PSEUDO = 1e-6
"""Added to the rate of each half of a node, so that a word that never occurred gets a probability
above 0."""


class WordTree(nn.Module):
    """A tree of V - 1 nodes whose logits are linear in the hidden units.

    A turn to the second half of a node has probability sigmoid(logit).

    Args:
        rates: Relative frequencies of the words, (V,). They set the first biases, so that with
            weights of zero the tree is the unigram model. All zero: both halves of every node are
            equally probable.
        units: Number of hidden units.

    Attributes:
        weight: (V - 1, units).
        bias: (V - 1,).
    """

    path: Tensor
    turn: Tensor
    start_bias: Tensor

    def __init__(self, rates: np.ndarray, units: int) -> None:
        super().__init__()
        vocabulary = len(rates)
        path, turn, share = (torch.from_numpy(v) for v in _halved(rates))
        self.weight = nn.Parameter(torch.zeros(max(vocabulary - 1, 1), units))
        self.bias = nn.Parameter(torch.zeros(max(vocabulary - 1, 1)))

        # Paths shorter than the longest end in turns of 0, which add nothing.
        self.register_buffer("path", path, persistent=False)
        self.register_buffer("turn", turn, persistent=False)
        self.register_buffer("start_bias", torch.logit(share).float(), persistent=False)

    def start(self, generator: torch.Generator) -> None:
        """Set the biases to the base rates; the generator is not used."""
        self.bias.copy_(self.start_bias)

    def log_prob(self, h: Tensor, words: Tensor) -> Tensor:
        """Return log p(word | h), (n,), nats, for hidden units ``h`` (n, units), ``words`` (n,)."""
        # (n, depth): the nodes on the way to each word, and the turns there, -1, 1 or 0.
        nodes = self.path[words]
        turn = self.turn[words]

        # The gradient of F.embedding is several times as fast as that of an index.
        weight = F.embedding(nodes, self.weight)
        bias = F.embedding(nodes, self.bias.unsqueeze(-1)).squeeze(-1)
        logits = torch.einsum("nu,ndu->nd", h, weight) + bias

        # The probability of a turn is sigmoid(turn * logit). |turn| drops what is beyond the leaf.
        return (F.logsigmoid(turn.to(h.dtype) * logits) * turn.abs()).sum(-1)


def _halved(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Build the tree of a vocabulary with the word frequencies ``rates`` (V,).

    Node m - 1 is the one whose second half begins at word m: every word but the first begins the
    second half of one node.

    Returns:
        The nodes on the way to each word, (V, depth); the turns there, (V, depth): -1, 1, or 0
        beyond the leaf; and the probability of the second half of each node, (V - 1,).
    """
    vocabulary = len(rates)
    depth = max((vocabulary - 1).bit_length(), 1)
    path = np.zeros((vocabulary, depth), dtype=np.int64)
    turn = np.zeros((vocabulary, depth), dtype=np.int8)
    share = np.full(max(vocabulary - 1, 1), 0.5)

    # Mass of the words before each word, and of all, (V + 1,).
    mass_before = np.concatenate([[0.0], rates.cumsum(dtype=np.float64)])

    # Ranges of words, first ... end - 1, that are still to be halved, with their depth.
    todo = [(0, vocabulary, 0)]
    while todo:
        first, end, level = todo.pop()
        if end - first < 2:
            continue

        # The two halves are first ... middle - 1 and middle ... end - 1. With PSEUDO in both, no
        # turn has probability 0 or 1.
        middle = (first + end) // 2
        node = middle - 1
        path[first:end, level] = node
        turn[first:middle, level] = -1
        turn[middle:end, level] = 1
        second = mass_before[end] - mass_before[middle] + PSEUDO
        share[node] = second / (mass_before[end] - mass_before[first] + 2 * PSEUDO)
        todo += [(first, middle, level + 1), (middle, end, level + 1)]

    return path, turn, share
