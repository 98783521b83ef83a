"""Autoregressive layers: unit j gets the weights of every unit k < j that is 1.

The weights are stored by source: row k holds what unit k adds to the logit of each unit, and is
zero up to and including k itself. So the logits are again sums of rows. The triangle of weights is
a staircase of full strips and of small blocks on the diagonal.

``chain`` is everywhere the array of the weights, where they begin in it, and the length of a row.
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
"""Number of columns of a strip."""


@kernel
def add_chain(a, at, stride, chain, ints, bounds, batch, units, scratch):
    """Add to the logits of ``batch`` rows what each unit that is 1 gives to those after it.

    Args:
        chain: The array of the weights, where they begin, and the length of their rows.
        bounds: List b there has the units of row b that are 1, in rising order.
        scratch: Place in ``ints`` for as many bounds.
    """
    theta, weights, row_length = chain

    # Second bounds, at ``scratch``: the lists as far as the present strip needs them. They begin
    # empty.
    for b in range(batch):
        ints[scratch + 2 * b] = ints[bounds + 2 * b]
        ints[scratch + 2 * b + 1] = ints[bounds + 2 * b]

    width = -(-units // LANES) * LANES
    for c in range(0, width, STEP):
        stop = min(c + STEP, width)
        # Each strip needs only the units before its end, so the lists grow from strip to strip.
        # Within the strip a row is zero up to its own unit and adds nothing there.
        for b in range(batch):
            k = ints[scratch + 2 * b + 1]
            end = ints[bounds + 2 * b + 1]
            while k < end and ints[k] < stop:
                k += 1
            ints[scratch + 2 * b + 1] = k
        add_rows(a, at, stride, theta, weights, row_length, ints, scratch, 0, batch, c, stop)


@kernel
def learn_chain(chain, deltas, at, stride, ints, cases, units):
    """Add to row k of the weights the deltas of the examples in list k at ``cases``.

    Only the columns after k change.
    """
    theta, weights, row_length = chain
    width = -(-units // LANES) * LANES
    zero = splat(float32(0))
    for c in range(0, width, STEP):
        # The units before the strip: all of its columns come after them.
        stop = min(c + STEP, width)
        add_rows(theta, weights, row_length, deltas, at, stride, ints, cases, 0, c, c, stop)

        # The units of the strip itself, 16 columns at a time: first the units before these columns,
        # then the blocks on the diagonal, where a row gets only the columns after its own unit.
        for d in range(c, stop, LANES):
            add_rows(
                theta, weights, row_length, deltas, at, stride, ints, cases, c, d, d, d + LANES
            )
            for k in range(d, min(d + LANES, units)):
                place = weights + k * row_length + d
                row = load(theta, place)
                for i in range(ints[cases + 2 * k], ints[cases + 2 * k + 1]):
                    row = add(row, load(deltas, at + ints[i] * stride + d))
                # Lanes k - d + 1 ... 15. The others held zeros before, and must hold zeros again.
                later = -(2 << (k - d))
                store(theta, place, choose(later, row, zero))


@kernel
def sample_chain(a, at, stride, chain, noise, noise_at, batch, units, thresholds, ints, scratch):
    """Draw ancestral samples of ``batch`` rows of logits in ``a``.

    What earlier units give is added to the logits. A unit is 1 where its logit exceeds log(noise /
    (1 - noise)). These thresholds are written in rows of the same ``stride`` at ``a[thresholds:]``.
    For each unit all rows take their turn before the next unit, so that none waits for its own
    result. ``scratch`` is a place in ``ints`` for bounds, for 16 units of each row, and for one
    more number.
    """
    theta, weights, row_length = chain
    fired = scratch + 2 * batch
    one = splat(float32(1))

    # u < sigmoid(l) is the same as log(u / (1 - u)) < l. The logarithms do not depend on other
    # units, so they are all computed before, and a turn of a unit is one comparison.
    for b in range(batch):
        for c in range(0, units, LANES):
            place = noise_at + b * units + c
            u = load(noise, place) if c + LANES <= units else load_first(noise, place, units - c)
            store(a, thresholds + b * stride + c, sub(log(u), log(sub(one, u))))

    width = -(-units // LANES) * LANES
    # Within 16 units one unit after the other; what they give to later units is added at once.
    for c in range(0, width, LANES):
        # For each row an empty list of the units of this block that are 1.
        for b in range(batch):
            ints[scratch + 2 * b] = fired + LANES * b
            ints[scratch + 2 * b + 1] = fired + LANES * b

        # There is no branch on a bit, as it would often be mispredicted: the weights are multiplied
        # with the bit, and the unit is always written, but the list grows only if the bit is 1.
        for k in range(c, min(c + LANES, units)):
            row = load(theta, weights + k * row_length + c)
            for b in range(batch):
                place = at + b * stride
                bit = a[place + k] > a[thresholds + b * stride + k]
                store(a, place + c, fma(row, splat(float32(bit)), load(a, place + c)))
                ints[ints[scratch + 2 * b + 1]] = k
                ints[scratch + 2 * b + 1] += bit

        # Add what the block gives to all units after it, by the lists.
        if c + LANES < width:
            add_rows(
                a, at, stride, theta, weights, row_length, ints, scratch, 0, batch, c + LANES, width
            )
