"""Updates of belief nets by wake-sleep, many in one call. Parameters are changed in place.

Hinton, Dayan, Frey & Neal 1995, as in Mnih & Gregor 2014, section 3.2 and equation 13. The plain
code is ``objectives/wake_sleep.py``.
"""

from __future__ import annotations

import numpy as np

from vaebench.kernels.centring import begin_centring, end_centring, learn_centring, list_overlaps
from vaebench.kernels.compiler import kernel
from vaebench.kernels.layers import (
    dream_layer,
    drive_layer,
    generate_logits,
    infer_logits,
    learn,
    list_cases,
    read_cases,
    sample_layer,
    score_layer,
)
from vaebench.kernels.layout import MODEL, POSTERIOR, SIZE


@kernel
def wake_sleep(
    theta, work, ints, blocks, units, dreamt, ones, ends, rows, noise, mean, rates, places
):
    """Make updates by wake-sleep, one for each of ``rows`` (updates, batch).

    ``units`` are the lists of the examples and their samples, ``dreamt`` those of as many dreams.
    In each layer the bounds of the dreams' lists stand behind those of the examples, and so do the
    logits of the dreams: the generative model takes both at once. The other arguments are as for
    ``nvil.nvil``. Returns the sum of the mean bounds of the updates, nats.
    """
    layers = len(units) - 1
    batch = rows.shape[1]
    thresholds, scratch = places
    logs = np.empty(batch)
    overlaps = np.empty(batch, np.float32)
    mass = np.empty(units[0, SIZE])

    # From here to ``end_centring`` theta holds V in the place of the first layer's weights W.
    square = (mean.astype(np.float64) ** 2).sum()
    begin_centring(theta, work, blocks[0], mean)

    # log P(x, h) - log Q(h | x) of the samples, added up term by term.
    bound = 0.0
    for t in range(len(rows)):
        # Awake: a sample of every layer. Its deltas are not used; the bound needs only its
        # probability.
        read_cases(ints, units[0], ones, ends, rows[t])
        list_overlaps(mean, ints, units[0], overlaps)
        for i in range(layers):
            block = blocks[i]
            infer_logits(
                theta, work, ints, block, units[i], batch, i == 0, overlaps, square, scratch
            )
            sample_layer(
                theta, work, ints, block, units[i + 1], noise, t, batch, thresholds, scratch, logs
            )
            bound -= logs.mean()

        # The generative model, from the top down: draw its dreams, and score the samples. A layer's
        # logits for the 2 batch rows need the samples of the layer above, and its dreams, which the
        # turn before has drawn. The prior, the first block here, has no parents.
        for i in range(layers, -1, -1):
            block = blocks[layers + i]
            generate_logits(theta, work, ints, block, units[min(i + 1, layers)], 2 * batch, scratch)
            dream_layer(
                theta, work, ints, block, dreamt[i], units[i], noise, t, batch, thresholds,
                scratch, mass
            )  # fmt: skip
            score_layer(theta, work, ints, block, units[i], batch, scratch, rates[MODEL], logs)
            bound += logs.mean()

        # Asleep: the inference network learns to predict the dreams. Its logits given the dreams
        # replace those given the data.
        list_overlaps(mean, ints, dreamt[0], overlaps)
        for i in range(layers):
            block = blocks[i]
            infer_logits(
                theta, work, ints, block, dreamt[i], batch, i == 0, overlaps, square, scratch
            )
            drive_layer(theta, work, ints, block, dreamt[i + 1], batch, scratch, rates[POSTERIOR])

        # All deltas are known, so weights may change: the inference network by the dreams, the
        # generative model by the samples.
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
