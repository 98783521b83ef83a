"""Centred inputs, x - mean, of the inference network and its baseline.

Subtracting the mean would make every row of inputs dense. Instead the weights are written as a
matrix minus one of rank one, W = V - mean u', that is W_kc = V_kc - mean_k u_c for input k and
column c. Then the logits are

    (x - mean) W + b = x V + (|mean|^2 - mean.x) u - mean V + b,

and x V is a sum of the few rows of V whose pixel is 1 or whose word occurs. An example adds
(x_k - mean_k) delta_c to W_kc: so x_k delta_c to V_kc, again in few rows, and delta_c to u_c.
mean V then grows by (mean.x) delta, so it need not be computed again.

The columns are the units of the layer and the hidden units of its baseline. ``work`` holds mean V
from ``block[CENTRE]`` on and u behind it, ``block[WIDTH]`` numbers each. mean.x is called the
overlap of an example.
"""

from __future__ import annotations

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.layout import BIAS, CENTRE, DELTA, ONES, PARENTS, STRIDE, WEIGHT, WIDTH
from vaebench.kernels.vectors import LANES, add, fma, load, splat, store, sub


@kernel
def begin_centring(theta, work, block, mean):
    """Begin with V = W: set u = 0, and sum up mean V."""
    # V takes the place of W in theta, so nothing is copied. From here on ``learn_centring`` keeps
    # mean V right; a new sum at every update would read all rows.
    width = block[WIDTH]
    at = block[CENTRE]
    for c in range(0, width, LANES):
        mean_v = splat(float32(0))
        for k in range(block[PARENTS]):
            mean_v = fma(splat(mean[k]), load(theta, block[WEIGHT] + k * block[STRIDE] + c), mean_v)
        store(work, at + c, mean_v)
        store(work, at + width + c, splat(float32(0)))


@kernel
def end_centring(theta, work, block, mean):
    """Put W = V - mean u' in the place of V."""
    width = block[WIDTH]
    at = block[CENTRE]
    for k in range(block[PARENTS]):
        place = block[WEIGHT] + k * block[STRIDE]
        minus = splat(-mean[k])
        for c in range(0, width, LANES):
            store(theta, place + c, fma(minus, load(work, at + width + c), load(theta, place + c)))


@kernel
def list_overlaps(mean, ints, layer, overlaps):
    """Compute mean.x of every example, from its list of pixels that are 1 or of its tokens."""
    for b in range(len(overlaps)):
        k = ints[layer[ONES] + 2 * b]
        end = ints[layer[ONES] + 2 * b + 1]

        # Two sums, since an addition waits for the one before it.
        sum_a = float32(0)
        sum_b = float32(0)
        while k + 1 < end:
            sum_a += mean[ints[k]]
            sum_b += mean[ints[k + 1]]
            k += 2
        if k < end:
            sum_a += mean[ints[k]]
        overlaps[b] = sum_a + sum_b


@kernel
def start_centred(theta, work, block, batch, overlaps, square):
    """Start the logits as ``start_logits`` does, with all terms that centring adds.

    These are b - mean V + (|mean|^2 - mean.x) u, where ``square`` is |mean|^2. Only x V is missing
    then.
    """
    width = block[WIDTH]
    at = block[CENTRE]
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE]
        factor = splat(float32(square - overlaps[b]))
        for c in range(0, width, LANES):
            base = sub(load(theta, block[BIAS] + c), load(work, at + c))
            store(work, place + c, fma(factor, load(work, at + width + c), base))


@kernel
def learn_centring(work, block, batch, overlaps):
    """Update u and mean V by a block's deltas, as V itself is updated by ``layers.learn``."""
    width = block[WIDTH]
    at = block[CENTRE]
    for c in range(0, width, LANES):
        mean_v = load(work, at + c)
        u = load(work, at + width + c)
        for b in range(batch):
            delta = load(work, block[DELTA] + b * block[STRIDE] + c)
            mean_v = fma(splat(overlaps[b]), delta, mean_v)
            u = add(u, delta)
        store(work, at + c, mean_v)
        store(work, at + width + c, u)
