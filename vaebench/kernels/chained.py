"""Autoregressive layers: unit j gets the weights of every unit k < j that is 1.

The weights are stored by source: row k holds what unit k gives to each unit, zero up to and
including k itself. So they too are rows to be added, and a triangle of them is a staircase of full
strips and of small blocks on the diagonal.
"""

from __future__ import annotations

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.rows import add_rows
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    fma,
    load,
    load_first,
    log,
    splat,
    store,
    sub,
)

STEP = 4 * LANES
"""Columns of a strip."""


@kernel
def add_chain(a, at, stride, chain, ints, bounds, batch, units, scratch):
    """Add to the logits of ``batch`` rows what the units that are 1 give to those after them.

    ``chain``: the array of the weights, where they begin, the length of their rows. Row b's units
    that are 1 are list b at ``bounds``, rising. ``scratch``: place in ``ints`` for as many bounds.
    """
    theta, weights, rows = chain
    for b in range(batch):
        ints[scratch + 2 * b] = ints[bounds + 2 * b]
        ints[scratch + 2 * b + 1] = ints[bounds + 2 * b]

    width = -(-units // LANES) * LANES
    for c in range(0, width, STEP):
        stop = min(c + STEP, width)
        for b in range(batch):
            k = ints[scratch + 2 * b + 1]
            end = ints[bounds + 2 * b + 1]
            while k < end and ints[k] < stop:
                k += 1
            ints[scratch + 2 * b + 1] = k
        add_rows(a, at, stride, theta, weights, rows, ints, scratch, 0, batch, c, stop)


@kernel
def learn_chain(chain, deltas, at, stride, ints, cases, units):
    """Add the gradient: to row k the deltas of the cases in list k at ``cases``.

    In the columns after k.
    """
    theta, weights, rows = chain
    width = -(-units // LANES) * LANES
    lanes = splat(float32(0))
    for c in range(0, width, STEP):
        stop = min(c + STEP, width)
        add_rows(theta, weights, rows, deltas, at, stride, ints, cases, 0, c, c, stop)
        for d in range(c, stop, LANES):
            add_rows(theta, weights, rows, deltas, at, stride, ints, cases, c, d, d, d + LANES)
            for k in range(d, min(d + LANES, units)):
                place = weights + k * rows + d
                row = load(theta, place)
                for i in range(ints[cases + 2 * k], ints[cases + 2 * k + 1]):
                    row = add(row, load(deltas, at + ints[i] * stride + d))
                later = -(2 << (k - d))
                store(theta, place, choose(later, row, lanes))


@kernel
def sample_chain(a, at, stride, chain, noise, noise_at, batch, units, thresholds, ints, scratch):
    """Ancestral samples: adds to the logits of ``batch`` rows of ``a`` what the units before give.

    A unit is 1 where its logit exceeds log(noise / (1 - noise)); those stand in rows of the same
    ``stride`` at ``a[thresholds:]``. Cases take turns, unit by unit, so that none waits for itself.
    ``scratch``: place in ``ints`` for bounds and for 16 units of each row, and one more.
    """
    theta, weights, rows = chain
    fired = scratch + 2 * batch
    one = splat(float32(1))
    for b in range(batch):
        for c in range(0, units, LANES):
            place = noise_at + b * units + c
            u = load(noise, place) if c + LANES <= units else load_first(noise, place, units - c)
            store(a, thresholds + b * stride + c, sub(log(u), log(sub(one, u))))

    width = -(-units // LANES) * LANES
    for c in range(0, width, LANES):
        for b in range(batch):
            ints[scratch + 2 * b] = fired + LANES * b
            ints[scratch + 2 * b + 1] = fired + LANES * b
        for k in range(c, min(c + LANES, units)):
            row = load(theta, weights + k * rows + c)
            for b in range(batch):
                place = at + b * stride
                bit = a[place + k] > a[thresholds + b * stride + k]
                store(a, place + c, fma(row, splat(float32(bit)), load(a, place + c)))
                ints[ints[scratch + 2 * b + 1]] = k
                ints[scratch + 2 * b + 1] += bit
        if c + LANES < width:
            add_rows(a, at, stride, theta, weights, rows, ints, scratch, 0, batch, c + LANES, width)
