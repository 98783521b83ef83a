"""Where the parts of a belief net lie in memory.

A net of n layers has 2 n + 1 *blocks*: the inference network's n, from the data up, the generative
model's n, from the data up, and the prior. ``blocks`` (2 n + 1, columns below) says where a block's
parts lie in ``theta``, ``work`` and the noise. Weights are stored by parent: row k holds what unit
k of the parents adds to the logits. The hidden units of a layer's baseline see the same parents as
its inference network, so their weights stand in the same rows.

``units`` (n + 1, columns below) says where ``ints`` lists the units of a layer that are 1. There
are two kinds of lists: for each example the units that are 1, and for each unit the examples in
which it is 1. A document is the list of its tokens. A word stands in it as often as it occurs, so
that sums of rows are products with its counts.

The arrays are flat and belong to one seed: ``theta`` has the parameters, ``work`` logits and
deltas, both float32; ``ints`` has the lists, int32.
"""

from __future__ import annotations

# Columns of ``blocks``.
#
# Sizes. PARENTS, UNITS: number of parents and of units. HIDDEN: the units, padded to whole vectors,
# which is also where the baseline's hidden units begin in a row. WIDTH: all of a row that is used,
# equal to HIDDEN without a baseline. STRIDE: distance from one row to the next, in theta and work.
#
# Places in theta. WEIGHT: (PARENTS, STRIDE). BIAS: (WIDTH,). CHAIN: autoregressive weights,
# (UNITS, CHAIN_STRIDE), -1 if there are none. OUT: the baseline's output weights, then its bias.
#
# Places in work. DELTA: logits, later the deltas in their place, (batch, STRIDE); with wake-sleep
# the generative model has as many rows of dreams behind them. CENTRE: mean V and u of
# ``centring``, (2, WIDTH), first block only.
#
# Places in the noise. NOISE: where the block's noise begins. NOISE_STEP: distance from one update's
# noise to the next one's. UNIFORMS: how many numbers an example has.
(WEIGHT, STRIDE, PARENTS, UNITS, WIDTH, BIAS,
 CHAIN, CHAIN_STRIDE, HIDDEN, OUT, DELTA, CENTRE) = range(12)  # fmt: skip
NOISE, NOISE_STEP, UNIFORMS = 12, 13, 14
BLOCK_COLUMNS = 15

# Columns of ``units``. SIZE: the number of units. ONES: bounds of the lists of each example, pairs
# (begin, end); ONES_AT: where these lists begin. CASES, CASES_AT: the same for the lists of each
# unit. TOKENS: whether the lists are tokens of documents.
SIZE, ONES, ONES_AT, CASES, CASES_AT, TOKENS = range(6)
UNIT_COLUMNS = 6

MODEL, POSTERIOR, BASELINE = range(3)
"""Places of the learning rates of the parameter groups. The rates are divided by the number of
examples if gradients are averaged.
"""
