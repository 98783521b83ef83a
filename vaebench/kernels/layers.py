"""A layer of a belief net of binary units: logits, samples, log-probabilities, and learning.

No gradient passes through hidden units, so a layer's gradient is computed within the layer. Its
parents are bits, a list of rows. Its deltas (bit minus probability, times signal and rate) take the
place of its logits.

``theta``, ``work``, ``ints``, ``block`` (a row of ``blocks``), ``layer`` and ``parents`` (rows of
``units``) are as ``layout`` describes them. ``scratch`` is a place in ``ints``, ``thresholds`` one
in ``work``, for what is needed only within a call.
"""

from __future__ import annotations

from vaebench.kernels.bernoulli import draw_row, drive_row, log_prob_row, sample_row
from vaebench.kernels.centring import start_centred
from vaebench.kernels.chained import add_chain, learn_chain, sample_chain
from vaebench.kernels.compiler import kernel
from vaebench.kernels.layout import (
    BIAS,
    CASES,
    CASES_AT,
    CHAIN,
    CHAIN_STRIDE,
    DELTA,
    NOISE,
    NOISE_STEP,
    ONES,
    ONES_AT,
    PARENTS,
    SIZE,
    STRIDE,
    TOKENS,
    UNIFORMS,
    UNITS,
    WEIGHT,
    WIDTH,
)
from vaebench.kernels.multinomial import log_prob_tokens, sample_tokens
from vaebench.kernels.rows import add_many_rows, add_rows, transpose, transpose_repeated
from vaebench.kernels.vectors import LANES, add, load, store


@kernel
def read_cases(ints, layer, ones, ends, rows):
    """List the pixels that are 1 of the examples ``rows``.

    Those of data row r are ``ones[ends[r] : ends[r + 1]]``; of documents, ``ones`` has the tokens.
    """
    at = layer[ONES_AT]
    for b in range(len(rows)):
        ints[layer[ONES] + 2 * b] = at
        for k in range(ends[rows[b]], ends[rows[b] + 1]):
            ints[at] = ones[k]
            at += 1
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def start_logits(theta, work, block, batch):
    """Put the biases in the place of the logits, those of the baseline's hidden units too."""
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE]
        for c in range(0, block[WIDTH], LANES):
            store(work, place + c, load(theta, block[BIAS] + c))


@kernel
def add_parents(theta, work, ints, block, parents, batch, hidden, scratch):
    """Add to the logits the rows of weights of the parents that are 1.

    In a block without parents nothing happens. ``hidden``: whether the parents are hidden units, of
    which many are 1, and not pixels.
    """
    if not block[PARENTS]:
        return

    logits = block[DELTA]
    weights = block[WEIGHT]
    stride = block[STRIDE]
    ones = parents[ONES]
    width = block[WIDTH]

    # Long lists are taken in parts of the rows. Pixels and words have short ones.
    if hidden:
        rows = block[PARENTS]
        add_many_rows(
            work, logits, stride, theta, weights, stride, ints, ones, batch, width, rows, scratch
        )
    else:
        add_rows(work, logits, stride, theta, weights, stride, ints, ones, 0, batch, 0, width)


@kernel
def infer_logits(theta, work, ints, block, parents, batch, centred, overlaps, square, scratch):
    """Compute the logits of a layer of the inference network.

    With them come the hidden units of its baseline, before their tanh. ``centred``: whether the
    parents are the data, from which the mean is subtracted (see ``centring``).
    """
    if centred:
        start_centred(theta, work, block, batch, overlaps, square)
    else:
        start_logits(theta, work, block, batch)
    add_parents(theta, work, ints, block, parents, batch, not centred, scratch)


@kernel
def generate_logits(theta, work, ints, block, parents, batch, scratch):
    """Compute the logits of a layer of the generative model."""
    start_logits(theta, work, block, batch)
    add_parents(theta, work, ints, block, parents, batch, True, scratch)


@kernel
def sample_in_order(theta, work, ints, block, first, noise, noise_at, batch, thresholds, scratch):
    """Add to the logits from ``first`` on what earlier units give, drawing unit after unit.

    In a block without a chain nothing happens.
    """
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        stride = block[STRIDE]
        units = block[UNITS]
        sample_chain(
            work, first, stride, chain, noise, noise_at, batch, units, thresholds, ints, scratch
        )


@kernel
def add_earlier(theta, work, ints, block, layer, batch, scratch):
    """Add to the logits of a layer what its listed units give to later ones.

    In a block without a chain nothing happens.
    """
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        first = block[DELTA]
        stride = block[STRIDE]
        units = block[UNITS]
        add_chain(work, first, stride, chain, ints, layer[ONES], batch, units, scratch)


@kernel
def sample_layer(theta, work, ints, block, layer, noise, step, batch, thresholds, scratch, logs):
    """Sample a layer from its logits, and list its units that are 1.

    The logits become bit - probability. ``logs`` (batch,) gets the log-probabilities, nats.
    """
    units = block[UNITS]
    first = block[DELTA]
    stride = block[STRIDE]
    noise_at = block[NOISE] + step * block[NOISE_STEP]

    # With a chain this completes the logits. ``sample_row`` then draws the same bits again from the
    # same noise, up to rounding, as no unit adds to its own logit or to an earlier one.
    sample_in_order(theta, work, ints, block, first, noise, noise_at, batch, thresholds, scratch)

    # The lists of the examples follow each other without gaps from ONES_AT on.
    at = layer[ONES_AT]
    for b in range(batch):
        ints[layer[ONES] + 2 * b] = at
        uniforms = noise_at + b * block[UNIFORMS]
        at, logs[b] = sample_row(work, first + b * stride, units, noise, uniforms, ints, at)
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def dream_layer(
    theta, work, ints, block, layer, seen, noise, step, batch, thresholds, scratch, mass
):
    """Sample a layer of dreams as ``sample_layer`` does, without log-probabilities and deltas.

    The logits of the dreams stand behind those of the examples. A dreamt document has as many
    tokens as the example in its place, which ``seen`` lists. ``mass`` has room for a number for
    each word.
    """
    units = block[UNITS]
    stride = block[STRIDE]
    first = block[DELTA] + batch * stride
    noise_at = block[NOISE] + step * block[NOISE_STEP]
    sample_in_order(theta, work, ints, block, first, noise, noise_at, batch, thresholds, scratch)

    at = layer[ONES_AT]
    for b in range(batch):
        ints[layer[ONES] + 2 * b] = at
        row = first + b * stride
        uniforms = noise_at + b * block[UNIFORMS]
        if layer[TOKENS]:
            # The length of the example's list is its number of tokens.
            tokens = ints[seen[ONES] + 2 * b + 1] - ints[seen[ONES] + 2 * b]
            at = sample_tokens(work, row, units, mass, noise, uniforms, tokens, ints, at)
        else:
            at = draw_row(work, row, units, noise, uniforms, ints, at)
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def score_layer(theta, work, ints, block, layer, batch, scratch, rate, logs):
    """Compute the log-probabilities, nats, of a layer's listed units.

    The logits become ``rate`` (bit - probability), or for tokens ``rate`` (count - its
    expectation).
    """
    units = block[UNITS]
    first = block[DELTA]
    stride = block[STRIDE]
    add_earlier(theta, work, ints, block, layer, batch, scratch)

    for b in range(batch):
        begin = ints[layer[ONES] + 2 * b]
        end = ints[layer[ONES] + 2 * b + 1]
        if layer[TOKENS]:
            logs[b] = log_prob_tokens(work, first + b * stride, units, ints, begin, end, rate)
        else:
            logs[b] = log_prob_row(work, first + b * stride, units, ints, begin, end, rate)


@kernel
def drive_layer(theta, work, ints, block, layer, batch, scratch, rate):
    """Turn a layer's logits into ``rate`` (bit - probability), without log-probabilities.

    The units are bits; compare ``score_layer``.
    """
    units = block[UNITS]
    first = block[DELTA]
    stride = block[STRIDE]
    add_earlier(theta, work, ints, block, layer, batch, scratch)

    for b in range(batch):
        begin = ints[layer[ONES] + 2 * b]
        end = ints[layer[ONES] + 2 * b + 1]
        drive_row(work, first + b * stride, units, ints, begin, end, rate)


@kernel
def list_cases(ints, layer, batch):
    """List, for each unit of a layer, the examples in which it is 1.

    ``learn`` needs these lists, of the parents and, with a chain, of the layer itself.
    """
    lists = layer[ONES], batch, layer[SIZE], layer[CASES], layer[CASES_AT]
    if layer[TOKENS]:
        transpose_repeated(ints, *lists)
    else:
        transpose(ints, *lists)


@kernel
def learn(theta, work, ints, block, layer, parents, batch):
    """Add a block's deltas to its biases, its chain and the weights of its parents.

    A weight gets only the deltas of the examples in which its source is 1.
    """
    # The deltas contain learning rate and signal already. Those of the baseline's hidden units
    # stand in the same rows, from HIDDEN to WIDTH, and so learn here too.
    deltas = block[DELTA]
    stride = block[STRIDE]
    width = block[WIDTH]
    for c in range(0, width, LANES):
        bias = load(theta, block[BIAS] + c)
        for b in range(batch):
            bias = add(bias, load(work, deltas + b * stride + c))
        store(theta, block[BIAS] + c, bias)

    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        learn_chain(chain, work, deltas, stride, ints, layer[CASES], block[UNITS])

    # Row k of the weights gets the deltas of the examples in which parent k is 1.
    if block[PARENTS]:
        weights = block[WEIGHT]
        cases = parents[CASES]
        add_rows(
            theta, weights, stride, work, deltas, stride, ints, cases, 0, block[PARENTS], 0, width
        )
