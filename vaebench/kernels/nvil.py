"""Updates of belief nets by NVIL, many in one call.

Mnih & Gregor 2014, Algorithm 1. Parameters are changed in place.
"""

from __future__ import annotations

import numpy as np
from numba import float32

from vaebench.kernels.bernoulli import tanh_row
from vaebench.kernels.centring import begin_centring, end_centring, learn_centring, list_overlaps
from vaebench.kernels.compiler import kernel
from vaebench.kernels.layers import (
    generate_logits,
    infer_logits,
    learn,
    list_cases,
    read_cases,
    sample_layer,
    score_layer,
)
from vaebench.kernels.layout import BASELINE, DELTA, HIDDEN, MODEL, OUT, POSTERIOR, STRIDE, WIDTH
from vaebench.kernels.vectors import LANES, fma, load, mul, splat, store, sub


@kernel
def scale_row(a, at, units, factor):
    """Multiply ``units`` numbers (padded) by a factor."""
    by = splat(float32(factor))
    for c in range(0, units, LANES):
        store(a, at + c, mul(by, load(a, at + c)))


@kernel
def baseline(theta, work, block, batch, predicted):
    """Compute the baseline's prediction for each example, nats, and set its hidden units."""
    # In theta the output bias lies behind the output weights.
    hidden = block[WIDTH] - block[HIDDEN]
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE] + block[HIDDEN]
        predicted[b] = theta[block[OUT] + hidden] + tanh_row(work, place, hidden, theta, block[OUT])


@kernel
def baseline_deltas(theta, work, block, batch, signal, rate):
    """Turn a baseline's hidden units into their deltas, and update its output weights and bias.

    A baseline C minimises (l - C - c)^2, where l is the raw signal and c the constant baseline. As
    in the plain code, the centred and normalised signal takes the place of l - C - c.
    """
    hidden = block[WIDTH] - block[HIDDEN]
    first = block[DELTA] + block[HIDDEN]
    one = splat(float32(1))
    for c in range(0, hidden, LANES):
        # The deltas rate s w (1 - tanh^2) need the output weights before the update.
        weights = load(theta, block[OUT] + c)
        new_weights = weights
        for b in range(batch):
            place = first + b * block[STRIDE] + c
            t = load(work, place)
            step = splat(float32(rate * signal[b]))
            new_weights = fma(step, t, new_weights)
            store(work, place, mul(mul(step, weights), sub(one, mul(t, t))))
        store(theta, block[OUT] + c, new_weights)

    for b in range(batch):
        theta[block[OUT] + hidden] += float32(rate * signal[b])


@kernel
def centre_signals(signals, means, variances, decay, constant, normalised):
    """Turn signals (layers, batch) into learning signals, and update their running statistics.

    The input-dependent baselines have been subtracted before. As in Algorithm 1 the statistics are
    updated first and then used: the NEW mean is subtracted, and the result divided by max(1, the
    new standard deviation).
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
    """Whether a baseline's predictions are far outside the range of its signal.

    They are if the largest |prediction + common| exceeds ``limit`` times the largest |signal|, or
    ``limit`` if no signal exceeds 1. Both are (batch,), nats. ``common`` is what the constant
    baseline subtracts as well.
    """
    largest = 1.0
    furthest = 0.0
    for b in range(len(signal)):
        largest = max(largest, abs(signal[b]))
        furthest = max(furthest, abs(predicted[b] + common))
    return furthest > limit * largest


@kernel
def nvil(
    theta, work, ints, blocks, units, ones, ends, rows, noise, mean, rates, places, decay, switches,
    means, variances, limit,
):  # fmt: skip
    """Make updates by NVIL, one for each of ``rows`` (updates, batch).

    Args:
        theta, work, ints, blocks, units: See ``layout``.
        ones, ends: The lists of the training data, see ``layers.read_cases``.
        rows: Row numbers of the examples of each update.
        noise: Uniforms of all updates, see ``layout``.
        mean: What is subtracted from the inputs of the inference network, (d,).
        rates: Learning rates of the parameter groups, (3,), see ``layout.MODEL``.
        places: Where the thresholds are in ``work``, and the scratch in ``ints``.
        decay: Weight of the old value in the running statistics.
        switches: Whether signals are local, there is a constant baseline, and the variance is
            normalised.
        means, variances: Running statistics of the signals, (layers,), changed in place.
        limit: How far predictions may exceed signals, as a factor, see ``is_outside``.

    Returns:
        The sum of the mean bounds of the updates, nats, and in how many of them a baseline was
        outside.
    """
    layers = len(units) - 1
    batch = rows.shape[1]
    thresholds, scratch = places

    # With h_0 = x and n latent layers: log_p[i] = log P(h_i | h_{i+1}), log_p[n] = log P(h_n), and
    # log_q[i] = log Q(h_{i+1} | h_i). So signals[i] belongs to the paper's layer i + 1.
    log_p = np.empty((layers + 1, batch))
    log_q = np.empty((layers, batch))
    predicted = np.zeros(batch)
    signals = np.empty((layers, batch))
    overlaps = np.empty(batch, np.float32)

    # From here to ``end_centring`` theta holds V in the place of the first layer's weights W.
    square = (mean.astype(np.float64) ** 2).sum()
    begin_centring(theta, work, blocks[0], mean)
    bound = 0.0
    outside = 0.0

    for t in range(len(rows)):
        read_cases(ints, units[0], ones, ends, rows[t])
        list_overlaps(mean, ints, units[0], overlaps)

        # Up: one sample of each layer, with the hidden units of its baseline. In the place of the
        # logits stays bit - q, the gradient of log Q, until the signal is known.
        for i in range(layers):
            block = blocks[i]
            infer_logits(
                theta, work, ints, block, units[i], batch, i == 0, overlaps, square, scratch
            )
            sample_layer(
                theta,
                work,
                ints,
                block,
                units[i + 1],
                noise,
                t,
                batch,
                thresholds,
                scratch,
                log_q[i],
            )

        # Down: log-probability of each layer under the generative model. Its deltas are complete at
        # once, as it follows the gradient of log P(x, h) itself. The prior, the last block, has no
        # parents, so it does not matter which list stands for them.
        for i in range(layers + 1):
            block = blocks[layers + i]
            generate_logits(theta, work, ints, block, units[min(i + 1, layers)], batch, scratch)
            score_layer(theta, work, ints, block, units[i], batch, scratch, rates[MODEL], log_p[i])

        # Signals of the layers, from the top down by a running sum (equation 12). At the bottom it
        # is the one-sample bound log P(x, h) - log Q(h | x), the signal of all if none is local.
        for b in range(batch):
            running = log_p[layers, b]
            for i in range(layers - 1, -1, -1):
                running += log_p[i, b] - log_q[i, b]
                signals[i, b] = running
            if not switches[0]:
                signals[:, b] = running
            bound += running / batch

        # Subtract the input-dependent baselines. A layer has one if its rows are wider than its
        # units. ``is_outside`` gets the constant baseline too: learning fixes only the sum of both.
        any_outside = False
        for i in range(layers):
            if blocks[i, HIDDEN] < blocks[i, WIDTH]:
                baseline(theta, work, blocks[i], batch, predicted)
                common = means[i] if switches[1] else 0.0
                any_outside = any_outside or is_outside(signals[i], predicted, common, limit)
                signals[i] -= predicted
        outside += 1.0 if any_outside else 0.0
        centre_signals(signals, means, variances, decay, switches[1], switches[2])

        # Deltas are signals times bit - probability; then all weights learn. No logit is computed
        # any more in this update, so weights may change layer by layer.
        for i in range(layers + 1):
            list_cases(ints, units[i], batch)
        for i in range(layers):
            block = blocks[i]
            for b in range(batch):
                scale_row(
                    work,
                    block[DELTA] + b * block[STRIDE],
                    block[HIDDEN],
                    rates[POSTERIOR] * signals[i, b],
                )
            if block[HIDDEN] < block[WIDTH]:
                baseline_deltas(theta, work, block, batch, signals[i], rates[BASELINE])

            # Only the first layer's inputs are centred. Its row of deltas must be complete, the
            # baseline's included.
            if i == 0:
                learn_centring(work, block, batch, overlaps)
            learn(theta, work, ints, block, units[i + 1], units[i], batch)

        for i in range(layers + 1):
            learn(theta, work, ints, blocks[layers + i], units[i], units[min(i + 1, layers)], batch)

    end_centring(theta, work, blocks[0], mean)
    return bound, outside
