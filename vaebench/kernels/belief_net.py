"""Updates of belief nets of binary units by NVIL and by wake-sleep, many in a call, parameters changed in place.

There is no path through hidden units, so a layer's gradient is made where the layer is: its parents are bits, a list
of rows, and its deltas (bit less probability, times signal and rate) stand where its logits stood.

A net of n layers has 2 n + 1 *blocks*: the inference network's n, from the data up, the generative model's n from the
data up, and the prior. ``blocks`` (2 n + 1, columns below) says where a block's parts lie in ``theta``, ``work`` and
the noise. Weights are stored by parent: row k has what unit k of the parents gives. The hidden units of a layer's
baseline see the same parents as its inference network, so their weights stand in the same rows.

``units`` (n + 1, columns below) says where in ``ints`` the lists of a layer's units that are 1 are: for each case the
units, and for each unit the cases. A document is the list of its tokens, a word as often as it occurs, so that sums of
rows are products with its counts.

The data enter the inference network and its baseline centred, x - mean, which would make every row dense. With weights
W = V - mean u' the logits are x V - (mean x) u - mean V + |mean|^2 u + b: the gradient goes to the rows of V whose
pixel is 1 or whose word occurs, and to u; mean V is kept up to date by sums of (mean x) delta.
"""

from __future__ import annotations

import numpy as np
from numba import float32

from vaebench.kernels.bernoulli import draw_row, drive_row, log_prob_row, sample_row, tanh_row
from vaebench.kernels.chained import add_chain, learn_chain, sample_chain
from vaebench.kernels.compiler import kernel
from vaebench.kernels.multinomial import log_prob_tokens, sample_tokens
from vaebench.kernels.rows import add_many_rows, add_rows, transpose, transpose_repeated
from vaebench.kernels.vectors import LANES, add, fma, load, mul, splat, store, sub

# Columns of ``blocks``. In theta: weights (rows of parents) and biases, chain weights (-1: none), the baseline's output
# weights. In work: logits and deltas, and what centring needs. In the noise: where this block's begins, how far one
# update's is from the next one's, and how many numbers a case has.
WEIGHT, STRIDE, PARENTS, UNITS, WIDTH, BIAS, CHAIN, CHAIN_STRIDE, HIDDEN, OUT, DELTA, CENTRE = range(12)
NOISE, NOISE_STEP, UNIFORMS = 12, 13, 14
BLOCK_COLUMNS = 15

# Columns of ``units``: the number of units; bounds and place of the lists of each case, and of those of each unit;
# whether the lists are tokens of documents.
SIZE, ONES, ONES_AT, CASES, CASES_AT, TOKENS = range(6)
UNIT_COLUMNS = 6

MODEL, POSTERIOR, BASELINE = range(3)
"""Places of the rates: those of the parameter groups, over the number of cases where gradients are averaged."""


# ----------------------------------------------------------------------------------------------------------- centring


@kernel
def begin_centring(theta, work, block, mean):
    """Take the weights as they are for V: u = 0, and mean V is summed."""
    width, at = block[WIDTH], block[CENTRE]
    for c in range(0, width, LANES):
        out = splat(float32(0))
        for k in range(block[PARENTS]):
            out = fma(splat(mean[k]), load(theta, block[WEIGHT] + k * block[STRIDE] + c), out)
        store(work, at + c, out)
        store(work, at + width + c, splat(float32(0)))


@kernel
def end_centring(theta, work, block, mean):
    """Put W = V - mean u' in the place of V."""
    width, at = block[WIDTH], block[CENTRE]
    for k in range(block[PARENTS]):
        place = block[WEIGHT] + k * block[STRIDE]
        minus = splat(-mean[k])
        for c in range(0, width, LANES):
            store(theta, place + c, fma(minus, load(work, at + width + c), load(theta, place + c)))


@kernel
def list_overlaps(mean, ints, layer, overlaps):
    """mean x of every case, from its list of pixels that are 1."""
    for b in range(len(overlaps)):
        k, end = ints[layer[ONES] + 2 * b], ints[layer[ONES] + 2 * b + 1]
        one, other = float32(0), float32(0)
        while k + 1 < end:
            one += mean[ints[k]]
            other += mean[ints[k + 1]]
            k += 2
        if k < end:
            one += mean[ints[k]]
        overlaps[b] = one + other


# ------------------------------------------------------------------------------------------------------------- layers


@kernel
def read_cases(ints, layer, ones, ends, rows):
    """List the pixels that are 1 of the cases ``rows``."""
    at = layer[ONES_AT]
    for b in range(len(rows)):
        ints[layer[ONES] + 2 * b] = at
        for k in range(ends[rows[b]], ends[rows[b] + 1]):
            ints[at] = ones[k]
            at += 1
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def start_logits(theta, work, block, batch):
    """Biases in the place of the logits."""
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE]
        for c in range(0, block[WIDTH], LANES):
            store(work, place + c, load(theta, block[BIAS] + c))


@kernel
def start_centred(theta, work, block, batch, overlaps, square):
    """As ``start_logits``, with all that centring adds."""
    width, at = block[WIDTH], block[CENTRE]
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE]
        factor = splat(float32(square - overlaps[b]))
        for c in range(0, width, LANES):
            base = sub(load(theta, block[BIAS] + c), load(work, at + c))
            store(work, place + c, fma(factor, load(work, at + width + c), base))


@kernel
def add_parents(theta, work, ints, block, parents, batch, hidden, scratch):
    """Add the rows of the parents that are 1 to the logits; a block without parents has none.

    ``hidden``: the parents are no pixels, and many of them are 1.
    """
    if not block[PARENTS]:
        return
    logits, weights, stride = block[DELTA], block[WEIGHT], block[STRIDE]
    ones, width = parents[ONES], block[WIDTH]
    if hidden:
        rows = block[PARENTS]
        add_many_rows(work, logits, stride, theta, weights, stride, ints, ones, batch, width, rows, scratch)
    else:
        add_rows(work, logits, stride, theta, weights, stride, ints, ones, 0, batch, 0, width)


@kernel
def infer_logits(theta, work, ints, block, parents, batch, centred, overlaps, square, scratch):
    """Logits of a layer of the inference network, and its baseline's hidden units before their tanh."""
    if centred:
        start_centred(theta, work, block, batch, overlaps, square)
    else:
        start_logits(theta, work, block, batch)
    add_parents(theta, work, ints, block, parents, batch, not centred, scratch)


@kernel
def generate_logits(theta, work, ints, block, parents, batch, scratch):
    """Logits of a layer of the generative model."""
    start_logits(theta, work, block, batch)
    add_parents(theta, work, ints, block, parents, batch, True, scratch)


@kernel
def sample_layer(theta, work, ints, block, layer, noise, step, batch, thresholds, scratch, logs):
    """Sample a layer from its logits, which become bit - probability, and list its units that are 1.

    ``logs`` (batch,) gets the log-probabilities, nats.
    """
    units, first, stride = block[UNITS], block[DELTA], block[STRIDE]
    noise_at = block[NOISE] + step * block[NOISE_STEP]
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        sample_chain(work, first, stride, chain, noise, noise_at, batch, units, thresholds, ints, scratch)
    at = layer[ONES_AT]
    for b in range(batch):
        ints[layer[ONES] + 2 * b] = at
        uniforms = noise_at + b * block[UNIFORMS]
        at, logs[b] = sample_row(work, first + b * stride, units, noise, uniforms, ints, at)
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def dream_layer(theta, work, ints, block, layer, seen, noise, step, batch, thresholds, scratch, mass):
    """As ``sample_layer``, of dreams: their logits stand behind those of the cases, and nothing else is asked for.

    A dreamt document has as many tokens as the case in its place, of which ``seen`` has the lists. ``mass``: room for
    a number for each word.
    """
    units, stride = block[UNITS], block[STRIDE]
    first = block[DELTA] + batch * stride
    noise_at = block[NOISE] + step * block[NOISE_STEP]
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        sample_chain(work, first, stride, chain, noise, noise_at, batch, units, thresholds, ints, scratch)
    at = layer[ONES_AT]
    for b in range(batch):
        ints[layer[ONES] + 2 * b] = at
        row, uniforms = first + b * stride, noise_at + b * block[UNIFORMS]
        if layer[TOKENS]:
            tokens = ints[seen[ONES] + 2 * b + 1] - ints[seen[ONES] + 2 * b]
            at = sample_tokens(work, row, units, mass, noise, uniforms, tokens, ints, at)
        else:
            at = draw_row(work, row, units, noise, uniforms, ints, at)
        ints[layer[ONES] + 2 * b + 1] = at


@kernel
def score_layer(theta, work, ints, block, layer, batch, scratch, rate, logs):
    """Log-probabilities, nats, of a layer's listed units; the logits become ``rate`` (bit - probability).

    Of tokens, ``rate`` (count - its expectation).
    """
    units, first, stride = block[UNITS], block[DELTA], block[STRIDE]
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        add_chain(work, first, stride, chain, ints, layer[ONES], batch, units, scratch)
    for b in range(batch):
        begin, end = ints[layer[ONES] + 2 * b], ints[layer[ONES] + 2 * b + 1]
        if layer[TOKENS]:
            logs[b] = log_prob_tokens(work, first + b * stride, units, ints, begin, end, rate)
        else:
            logs[b] = log_prob_row(work, first + b * stride, units, ints, begin, end, rate)


@kernel
def drive_layer(theta, work, ints, block, layer, batch, scratch, rate):
    """As ``score_layer``, where no log-probabilities are asked for."""
    units, first, stride = block[UNITS], block[DELTA], block[STRIDE]
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        add_chain(work, first, stride, chain, ints, layer[ONES], batch, units, scratch)
    for b in range(batch):
        begin, end = ints[layer[ONES] + 2 * b], ints[layer[ONES] + 2 * b + 1]
        drive_row(work, first + b * stride, units, ints, begin, end, rate)


@kernel
def list_cases(ints, layer, batch):
    """For each unit of a layer the cases in which it is 1."""
    lists = layer[ONES], batch, layer[SIZE], layer[CASES], layer[CASES_AT]
    if layer[TOKENS]:
        transpose_repeated(ints, *lists)
    else:
        transpose(ints, *lists)


@kernel
def learn(theta, work, ints, block, layer, parents, batch):
    """Add a block's deltas, times what they belong to, to its biases, its chain and the weights of its parents."""
    deltas, stride, width = block[DELTA], block[STRIDE], block[WIDTH]
    for c in range(0, width, LANES):
        out = load(theta, block[BIAS] + c)
        for b in range(batch):
            out = add(out, load(work, deltas + b * stride + c))
        store(theta, block[BIAS] + c, out)
    if block[CHAIN] >= 0:
        chain = theta, block[CHAIN], block[CHAIN_STRIDE]
        learn_chain(chain, work, deltas, stride, ints, layer[CASES], block[UNITS])
    if block[PARENTS]:
        weights, cases = block[WEIGHT], parents[CASES]
        add_rows(theta, weights, stride, work, deltas, stride, ints, cases, 0, block[PARENTS], 0, width)


@kernel
def learn_centring(work, block, batch, overlaps):
    """Add a block's deltas to u, and to mean V."""
    width, at = block[WIDTH], block[CENTRE]
    for c in range(0, width, LANES):
        through = load(work, at + c)
        out = load(work, at + width + c)
        for b in range(batch):
            delta = load(work, block[DELTA] + b * block[STRIDE] + c)
            through = fma(splat(overlaps[b]), delta, through)
            out = add(out, delta)
        store(work, at + c, through)
        store(work, at + width + c, out)


@kernel
def scale_row(a, at, units, factor):
    """Multiply ``units`` numbers (padded) by a factor."""
    by = splat(float32(factor))
    for c in range(0, units, LANES):
        store(a, at + c, mul(by, load(a, at + c)))


# --------------------------------------------------------------------------------------------------------------- NVIL


@kernel
def baseline(theta, work, block, batch, predicted):
    """The baseline's value for each case, nats; its hidden units get their values."""
    hidden = block[WIDTH] - block[HIDDEN]
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE] + block[HIDDEN]
        predicted[b] = theta[block[OUT] + hidden] + tanh_row(work, place, hidden, theta, block[OUT])


@kernel
def baseline_deltas(theta, work, block, batch, signal, rate):
    """Hidden units become their deltas; the output's weights and bias learn."""
    hidden, first = block[WIDTH] - block[HIDDEN], block[DELTA] + block[HIDDEN]
    one = splat(float32(1))
    for c in range(0, hidden, LANES):
        weights = load(theta, block[OUT] + c)
        new = weights
        for b in range(batch):
            place = first + b * block[STRIDE] + c
            t = load(work, place)
            drive = splat(float32(rate * signal[b]))
            new = fma(drive, t, new)
            store(work, place, mul(mul(drive, weights), sub(one, mul(t, t))))
        store(theta, block[OUT] + c, new)
    for b in range(batch):
        theta[block[OUT] + hidden] += float32(rate * signal[b])


@kernel
def centre_signals(signals, means, variances, decay, constant, normalised):
    """Signals (layers, batch), less their input-dependent baselines, become learning signals; the statistics move.

    The order of Algorithm 1: statistics first, then they are used.
    """
    for i in range(len(signals)):
        mean = signals[i].mean()
        variance = ((signals[i] - mean) ** 2).mean()
        means[i] = decay * means[i] + (1 - decay) * mean
        variances[i] = decay * variances[i] + (1 - decay) * variance
        if constant:
            signals[i] -= means[i]
        if normalised:
            signals[i] /= max(np.sqrt(variances[i]), 1.0)


@kernel
def is_outside(signal, predicted, common, limit):
    """Whether a baseline's prediction is far outside the range of its signal, both (batch,), nats.

    ``common``: what the constant baseline takes away as well.
    """
    largest, furthest = 1.0, 0.0
    for b in range(len(signal)):
        largest = max(largest, abs(signal[b]))
        furthest = max(furthest, abs(predicted[b] + common))
    return furthest > limit * largest


@kernel
def nvil(
    theta, work, ints, blocks, units, ones, ends, rows, noise, mean, rates, places, decay, switches, means, variances,
    limit,
):  # fmt: skip
    """Updates by NVIL, one for each of ``rows`` (updates, batch).

    Returns the sum of their mean bounds, nats, and in how many a baseline was outside ``limit`` times its signal.
    ``switches``: local signals, constant baseline, normalisation of the variance. ``means``, ``variances`` (layers,):
    running statistics of the signals. ``places``: thresholds in ``work``, scratch in ``ints``.
    """
    layers, batch = len(units) - 1, rows.shape[1]
    thresholds, scratch = places
    log_p, log_q = np.empty((layers + 1, batch)), np.empty((layers, batch))
    predicted, signals, overlaps = np.zeros(batch), np.empty((layers, batch)), np.empty(batch, np.float32)
    square = (mean.astype(np.float64) ** 2).sum()
    begin_centring(theta, work, blocks[0], mean)
    bound, outside = 0.0, 0.0

    for t in range(len(rows)):
        read_cases(ints, units[0], ones, ends, rows[t])
        list_overlaps(mean, ints, units[0], overlaps)

        # Up: one sample of each layer, the baselines' hidden units beside it.
        for i in range(layers):
            block = blocks[i]
            infer_logits(theta, work, ints, block, units[i], batch, i == 0, overlaps, square, scratch)
            sample_layer(theta, work, ints, block, units[i + 1], noise, t, batch, thresholds, scratch, log_q[i])

        # Down: what the generative model says of each layer.
        for i in range(layers + 1):
            block = blocks[layers + i]
            generate_logits(theta, work, ints, block, units[min(i + 1, layers)], batch, scratch)
            score_layer(theta, work, ints, block, units[i], batch, scratch, rates[MODEL], log_p[i])

        # Signals, from the top down by a running sum (equation 12).
        for b in range(batch):
            running = log_p[layers, b]
            for i in range(layers - 1, -1, -1):
                running += log_p[i, b] - log_q[i, b]
                signals[i, b] = running
            if not switches[0]:
                signals[:, b] = running
            bound += running / batch
        found = False
        for i in range(layers):
            if blocks[i, HIDDEN] < blocks[i, WIDTH]:
                baseline(theta, work, blocks[i], batch, predicted)
                common = means[i] if switches[1] else 0.0
                found = found or is_outside(signals[i], predicted, common, limit)
                signals[i] -= predicted
        outside += 1.0 if found else 0.0
        centre_signals(signals, means, variances, decay, switches[1], switches[2])

        for i in range(layers + 1):
            list_cases(ints, units[i], batch)
        for i in range(layers):
            block = blocks[i]
            for b in range(batch):
                scale_row(work, block[DELTA] + b * block[STRIDE], block[HIDDEN], rates[POSTERIOR] * signals[i, b])
            if block[HIDDEN] < block[WIDTH]:
                baseline_deltas(theta, work, block, batch, signals[i], rates[BASELINE])
            if i == 0:
                learn_centring(work, block, batch, overlaps)
            learn(theta, work, ints, block, units[i + 1], units[i], batch)
        for i in range(layers + 1):
            learn(theta, work, ints, blocks[layers + i], units[i], units[min(i + 1, layers)], batch)

    end_centring(theta, work, blocks[0], mean)
    return bound, outside


# --------------------------------------------------------------------------------------------------------- wake-sleep


@kernel
def wake_sleep(theta, work, ints, blocks, units, dreamt, ones, ends, rows, noise, mean, rates, places):
    """Updates by wake-sleep, one for each of ``rows`` (updates, batch); returns the sum of their mean bounds, nats.

    ``units`` are the lists of the cases and their samples, ``dreamt`` those of as many dreams. The bounds of a layer's
    dreams stand behind those of its cases, and so do their logits: the generative model takes both at once.
    """
    layers, batch = len(units) - 1, rows.shape[1]
    thresholds, scratch = places
    logs, overlaps, mass = np.empty(batch), np.empty(batch, np.float32), np.empty(units[0, SIZE])
    square = (mean.astype(np.float64) ** 2).sum()
    begin_centring(theta, work, blocks[0], mean)
    bound = 0.0

    for t in range(len(rows)):
        # Awake: a sample of every layer.
        read_cases(ints, units[0], ones, ends, rows[t])
        list_overlaps(mean, ints, units[0], overlaps)
        for i in range(layers):
            block = blocks[i]
            infer_logits(theta, work, ints, block, units[i], batch, i == 0, overlaps, square, scratch)
            sample_layer(theta, work, ints, block, units[i + 1], noise, t, batch, thresholds, scratch, logs)
            bound -= logs.mean()

        # The generative model, from the top down: what it dreams, and what it says of the samples.
        for i in range(layers, -1, -1):
            block = blocks[layers + i]
            generate_logits(theta, work, ints, block, units[min(i + 1, layers)], 2 * batch, scratch)
            dream_layer(
                theta, work, ints, block, dreamt[i], units[i], noise, t, batch, thresholds, scratch, mass
            )  # fmt: skip
            score_layer(theta, work, ints, block, units[i], batch, scratch, rates[MODEL], logs)
            bound += logs.mean()

        # Asleep: what the inference network says of the dreams.
        list_overlaps(mean, ints, dreamt[0], overlaps)
        for i in range(layers):
            block = blocks[i]
            infer_logits(theta, work, ints, block, dreamt[i], batch, i == 0, overlaps, square, scratch)
            drive_layer(theta, work, ints, block, dreamt[i + 1], batch, scratch, rates[POSTERIOR])

        for i in range(layers + 1):
            list_cases(ints, units[i], batch)
            list_cases(ints, dreamt[i], batch)
        learn_centring(work, blocks[0], batch, overlaps)
        for i in range(layers):
            learn(theta, work, ints, blocks[i], dreamt[i + 1], dreamt[i], batch)
        for i in range(layers + 1):
            learn(theta, work, ints, blocks[layers + i], units[i], units[min(i + 1, layers)], batch)

    end_centring(theta, work, blocks[0], mean)
    return bound
