"""DocNADE word by word: log p of sequences through a tree over the vocabulary, and its derivative.

A word costs a path of the tree, some ten rows of a matrix. PyTorch copies these rows for every
word, and so waits for memory. The plain code is in ``models/doc_nade.py``, the tree in
``nn/word_tree.py``.

Shapes: ``words`` (n,), all sequences in a row; ``first`` (sequences + 1,); ``embedding`` (V,
units), W; ``hidden_bias`` (units,), c; ``weight`` (V - 1, units) and ``bias`` (V - 1,) of the
nodes; ``path`` and ``turn`` (V, depth), the nodes on the way to each word, and the turns there: -1
to the first half, 1 to the second, 0 behind the end of a path.

Reference:
    Larochelle & Lauly 2012, A Neural Autoregressive Topic Model, equations 5 to 9.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64

from vaebench.kernels.compiler import kernel


@kernel
def activate(a, tanh, h):
    """Set h = g(a), where g is tanh or the sigmoid."""
    for u in range(len(a)):
        h[u] = np.tanh(a[u]) if tanh else 1.0 / (1.0 + np.exp(-a[u]))


@kernel
def logit(h, weight, bias, node):
    """Return the logit of the turn to the second half at a node."""
    # Four sums beside each other, since an addition waits for the one before it.
    sum_a = float32(0)
    sum_b = float32(0)
    sum_c = float32(0)
    sum_d = float32(0)
    units = len(h)
    row = weight[node]
    for u in range(0, units - 3, 4):
        sum_a += h[u] * row[u]
        sum_b += h[u + 1] * row[u + 1]
        sum_c += h[u + 2] * row[u + 2]
        sum_d += h[u + 3] * row[u + 3]
    for u in range(units - units % 4, units):
        sum_a += h[u] * row[u]

    return float64(sum_a + sum_b + (sum_c + sum_d) + bias[node])


@kernel
def log_probabilities(words, first, embedding, hidden_bias, weight, bias, path, turn, tanh, out):
    """Write log p of every sequence to ``out``.

    Sequence d has the ``words`` from ``first[d]`` to ``first[d + 1]``.
    """
    # ``before`` is the running sum c + sum_{j<i} W_{v_j}. It is long, hence float64.
    units = embedding.shape[1]
    before = np.empty(units)
    h = np.empty(units, np.float32)
    for d in range(len(out)):
        before[:] = hidden_bias
        total = 0.0
        for i in range(first[d], first[d + 1]):
            word = words[i]
            activate(before, tanh, h)

            # log p(word | h) is a sum over its path of log sigmoid(v) = -log(1 + e^-v), by a form
            # that cannot overflow.
            for level in range(path.shape[1]):
                side = turn[word, level]
                if side == 0:
                    break
                v = side * logit(h, weight, bias, path[word, level])
                total -= np.log1p(np.exp(-v)) if v > 0 else np.log1p(np.exp(v)) - v

            # Only the words after it see this word.
            row = embedding[word]
            for u in range(units):
                before[u] += row[u]
        out[d] = total


@kernel
def derivatives(
    words,
    first,
    embedding,
    hidden_bias,
    weight,
    bias,
    path,
    turn,
    tanh,
    slopes,
    d_embedding,
    d_hidden,
    d_weight,
    d_bias,
):
    """Add the derivatives of sum_d slopes[d] log p_d to the last four arguments."""
    units = embedding.shape[1]
    longest = 0
    for d in range(len(slopes)):
        longest = max(longest, first[d + 1] - first[d])

    # ``d_before`` has a row for each word of a sequence: the derivative by the sum before it.
    before = np.empty(units)
    h = np.empty(units, np.float32)
    d_before = np.empty((longest, units), np.float32)
    after = np.empty(units, np.float32)

    for d in range(len(slopes)):
        before[:] = hidden_bias
        for i in range(first[d], first[d + 1]):
            word = words[i]
            activate(before, tanh, h)
            d_sum = d_before[i - first[d]]
            d_sum[:] = 0

            # Along the path: d log sigmoid(v) / dv = 1 / (1 + e^v), and v is side x logit.
            for level in range(path.shape[1]):
                side = turn[word, level]
                if side == 0:
                    break
                node = path[word, level]
                v = side * logit(h, weight, bias, node)
                slope = float32(slopes[d] * side / (1.0 + np.exp(v)))
                d_bias[node] += slope
                row = weight[node]
                d_row = d_weight[node]
                for u in range(units):
                    d_row[u] += slope * h[u]
                    d_sum[u] += slope * row[u]

            # So far the derivative by h; with g' it is that by the sum.
            for u in range(units):
                d_sum[u] *= float32(1) - h[u] * h[u] if tanh else h[u] * (float32(1) - h[u])

            row = embedding[word]
            for u in range(units):
                before[u] += row[u]

        # A word moves the units of all words after it, so its embedding gets the sum of their
        # derivatives. At the end ``after`` is the sum over all words, which the biases move.
        after[:] = 0
        for i in range(first[d + 1] - 1, first[d] - 1, -1):
            d_row = d_embedding[words[i]]
            d_sum = d_before[i - first[d]]
            for u in range(units):
                d_row[u] += after[u]
                after[u] += d_sum[u]
        for u in range(units):
            d_hidden[u] += after[u]
