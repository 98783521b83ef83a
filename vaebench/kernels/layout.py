"""Where the parts of a belief net lie in memory.

A net of n layers has 2 n + 1 *blocks*: the inference network's n, from the data up, the generative
model's n, from the data up, and the prior. ``blocks`` (2 n + 1, columns below) says where a block's
parts lie in ``theta``, ``work`` and the noise. Weights are stored by parent: row k has what unit k
of the parents gives. The hidden units of a layer's baseline see the same parents as its inference
network, so their weights stand in the same rows.

``units`` (n + 1, columns below) says where in ``ints`` the lists of a layer's units that are 1 are:
for each example the units, and for each unit the examples. A document is the list of its tokens, in
which a word stands as often as it occurs, so that sums of rows are products with its counts.
"""

from __future__ import annotations

# Columns of ``blocks``. In theta: weights (rows of parents) and biases, chain weights (-1: none),
# the baseline's output weights. In work: logits and deltas, and what centring needs. In the noise:
# where the block's noise begins, the distance from one update's to the next, and how many numbers
# an example has.
(WEIGHT, STRIDE, PARENTS, UNITS, WIDTH, BIAS,
 CHAIN, CHAIN_STRIDE, HIDDEN, OUT, DELTA, CENTRE) = range(12)  # fmt: skip
NOISE, NOISE_STEP, UNIFORMS = 12, 13, 14
BLOCK_COLUMNS = 15

# Columns of ``units``: the number of units; bounds and place of the lists of each example, and of
# those of each unit; whether the lists are tokens of documents.
SIZE, ONES, ONES_AT, CASES, CASES_AT, TOKENS = range(6)
UNIT_COLUMNS = 6

MODEL, POSTERIOR, BASELINE = range(3)
"""Places of the learning rates of the parameter groups. The rates are divided by the number of
examples if gradients are averaged.
"""
