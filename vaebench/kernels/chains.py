"""Markov chains of a restricted Boltzmann machine as fused loops.

Product, noise and comparison are one pass. A chain's sides are words of 16 bits. All chains pass
over a strip of 16 units before the next strip, so that the strip's table (see ``bits``) stays in
the first cache, and nothing between the old bits and the new ones is stored.

Arrays of units (such as biases) are padded to whole strips. The bias of the padding is -1e30, so
its bits are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from numba import float32

from vaebench.kernels.bits import WORD, sum_rows
from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    exp_minus_abs,
    fma,
    less,
    load,
    load_short,
    mul,
    product,
    splat,
    store,
    sub,
    total,
)


@kernel
def rises(logit, u):
    """Return 1[u > sigmoid(-logit)] of 16 units as the bits of an integer.

    Such a bit is 1 with probability sigmoid(logit).
    """
    # sigmoid(-l) is e^-|l| / (1 + e^-|l|), or 1 / (1 + e^-|l|) where l < 0. Both sides of the
    # comparison are multiplied by the denominator, which saves a division.
    one = splat(float32(1))
    e = exp_minus_abs(logit)
    level = choose(less(logit, splat(float32(0))), one, e)
    return less(level, mul(u, add(one, e)))


def _half(raw: Callable) -> Callable:
    """Make a kernel for half a sweep, whose noise ``raw`` reads.

    The kernel draws every chain's ``units`` bits of one side, given the other side. The logits are
    ``bias`` + ``scale`` (``field`` + product). A uniform is ``low`` + ``factor`` times a number of
    ``noise``. The numbers of the first chain begin at ``at``, those of each next chain ``stride``
    later. ``tail`` has room for 16 numbers.
    """

    @kernel
    def half(
        table,
        given,
        words,
        chains,
        drawn,
        units,
        bias,
        field,
        scale,
        noise,
        at,
        stride,
        factor,
        low,
        low_at,
        tail,
    ):
        # A strip outside, chains inside: the strip's part of the table stays in the first cache
        # while all chains pass over it.
        scales = splat(float32(scale))
        factors = splat(float32(factor))
        strips = -(-units // LANES)
        for c in range(strips):
            strip = c * words * WORD
            b = load(bias, c * LANES)
            f = load(field, c * LANES)
            digits = load(low, low_at + c * LANES)
            place = at + c * LANES
            for k in range(chains):
                logit = fma(scales, add(f, sum_rows(table, strip, words, given, k * words)), b)

                # The last strip of a chain may read on into the next chain's noise, as the bits of
                # the padding are 0 whatever their noise is. But behind the end of the array nothing
                # may be read: there, read from a copy with more room.
                if place + LANES <= len(noise):
                    u = raw(noise, place)
                else:
                    for j in range(len(noise) - place):
                        tail[j] = noise[place + j]
                    u = raw(tail, 0)
                u = fma(u, factors, digits)
                place += stride

                drawn[k * strips + c] = rises(logit, u)

    return half


half_by_digits = _half(load_short)
half_by_floats = _half(load)


def _gibbs(half: Callable) -> Callable:
    """Make a kernel for sweeps: side 2 given side 1, then side 1 given the new side 2.

    ``table2`` and the like belong to the product that gives side 2. The noise ``u2`` is (sweeps,
    chains, n2), ``u1`` likewise. ``low2`` and ``low1`` have a row for every sweep, ``row2`` and
    ``row1`` apart, or one row for all if these are 0.
    """

    @kernel
    def gibbs(
        table2,
        table1,
        z1,
        z2,
        chains,
        n1,
        n2,
        bias2,
        bias1,
        field2,
        field1,
        u2,
        u1,
        factor,
        low2,
        low1,
        row2,
        row1,
        sweeps,
        tail,
    ):
        words1 = -(-n1 // LANES)
        words2 = -(-n2 // LANES)
        for s in range(sweeps):
            at2 = s * chains * n2
            at1 = s * chains * n1
            low_at2 = s * row2
            low_at1 = s * row1

            # Side 2 given side 1.
            half(
                table2,
                z1,
                words1,
                chains,
                z2,
                n2,
                bias2,
                field2,
                1.0,
                u2,
                at2,
                n2,
                factor,
                low2,
                low_at2,
                tail,
            )

            # Side 1 given the new side 2.
            half(
                table1,
                z2,
                words2,
                chains,
                z1,
                n1,
                bias1,
                field1,
                1.0,
                u1,
                at1,
                n1,
                factor,
                low1,
                low_at1,
                tail,
            )

    return gibbs


gibbs_by_digits = _gibbs(half_by_digits)
gibbs_by_floats = _gibbs(half_by_floats)


@kernel
def weigh(table, given, words, chains, units, bias, field, slopes, low, high, sums, log_w):
    """Add to every chain's log-weight the step from scale ``low`` to ``high``.

    This is a step of annealed importance sampling (Neal 2001). It raises minus the free energy by
    sum softplus(bias + high f) - softplus(bias + low f), where f is the field of the side that is
    summed out, plus (high - low) times the sum of ``slopes`` (a table of one column) over the bits
    of ``given``.

    softplus(x) = relu(x) + log(1 + e^-|x|). The factors 1 + e^-|x|, in [1, 2], are multiplied
    before the logarithm is taken. Terms are subtracted, or divided, before they are summed.
    ``sums`` has room for 48 numbers a chain.
    """
    # Three vectors for each chain: the sum of relu(high) - relu(low), the product of the factors at
    # ``low``, and that at ``high``. A product has at most ``kernels.MOST`` factors up to 2, and so
    # fits in a float64.
    zero = splat(float32(0))
    one = splat(float32(1))
    lows = splat(float32(low))
    highs = splat(float32(high))
    for k in range(chains):
        store(sums, 48 * k, zero)
        store(sums, 48 * k + 16, one)
        store(sums, 48 * k + 32, one)

    for c in range(-(-units // LANES)):
        strip = c * words * WORD
        b = load(bias, c * LANES)
        f = load(field, c * LANES)
        for k in range(chains):
            total_field = add(f, sum_rows(table, strip, words, given, k * words))
            at_low = fma(lows, total_field, b)
            at_high = fma(highs, total_field, b)
            rise = sub(
                choose(less(zero, at_high), at_high, zero), choose(less(zero, at_low), at_low, zero)
            )

            at = 48 * k
            store(sums, at, add(load(sums, at), rise))
            store(sums, at + 16, mul(load(sums, at + 16), add(one, exp_minus_abs(at_low))))
            store(sums, at + 32, mul(load(sums, at + 32), add(one, exp_minus_abs(at_high))))

    # Of the table of one column only the first lane is not zero.
    for k in range(chains):
        at = 48 * k
        ratio = product(load(sums, at + 32)) / product(load(sums, at + 16))
        slope = total(sum_rows(slopes, 0, words, given, k * words))
        log_w[k] += total(load(sums, at)) + math.log(ratio) + (high - low) * slope
