"""Centred inputs, x - mean, of the inference network and its baseline.

To subtract the mean would make every row dense. Instead the weights are written W = V - mean u'.
Then the logits are x V - (mean x) u - mean V + |mean|^2 u + b. The gradient goes to u and to the
rows of V whose pixel is 1 or whose word occurs. mean V is kept up to date by sums of (mean x)
delta.
"""

from __future__ import annotations

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.layout import BIAS, CENTRE, DELTA, ONES, PARENTS, STRIDE, WEIGHT, WIDTH
from vaebench.kernels.vectors import LANES, add, fma, load, splat, store, sub


@kernel
def begin_centring(theta, work, block, mean):
    """Begin with V = W: set u = 0, and sum up mean V."""
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
    """Compute mean x of every example, from its list of pixels that are 1."""
    for b in range(len(overlaps)):
        k, end = ints[layer[ONES] + 2 * b], ints[layer[ONES] + 2 * b + 1]
        # Two sums, since an addition waits for the one before it.
        one, other = float32(0), float32(0)
        while k + 1 < end:
            one += mean[ints[k]]
            other += mean[ints[k + 1]]
            k += 2
        if k < end:
            one += mean[ints[k]]
        overlaps[b] = one + other


@kernel
def start_centred(theta, work, block, batch, overlaps, square):
    """Start the logits as ``start_logits`` does, with all terms that centring adds."""
    width, at = block[WIDTH], block[CENTRE]
    for b in range(batch):
        place = block[DELTA] + b * block[STRIDE]
        factor = splat(float32(square - overlaps[b]))
        for c in range(0, width, LANES):
            base = sub(load(theta, block[BIAS] + c), load(work, at + c))
            store(work, place + c, fma(factor, load(work, at + width + c), base))


@kernel
def learn_centring(work, block, batch, overlaps):
    """Update u and mean V by a block's deltas."""
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
