"""Layers of Bernoulli units, a row of logits at a time.

Samples, log-probabilities, and the differences bit - probability, from which gradients are made.
Rows are padded to whole vectors. The logits of the padding are -1e30: such units are 0 and cost
nothing.
"""

from __future__ import annotations

import math

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    div,
    exp_minus_abs,
    fma,
    less,
    list_ones,
    load,
    load_first,
    mul,
    product,
    splat,
    store,
    sub,
    total,
)

OFF = -1e30
"""Logit of a unit of the padding."""

FLUSH = 60
"""Number of vectors of factors up to 2 after which the logarithm of their product is taken. The
product of 960 factors is still in the range of a float64.
"""


@kernel
def sigmoid(logits):
    """Return the probability of a 1, and 1 + e^-|logit|."""
    # sigmoid(l) is 1 / (1 + e^-|l|), or e^-|l| / (1 + e^-|l|) where l < 0: e^-|l| cannot overflow.
    one = splat(float32(1))
    e = exp_minus_abs(logits)
    factor = add(one, e)
    inverse = div(one, factor)
    return choose(less(logits, splat(float32(0))), mul(e, inverse), inverse), factor


@kernel
def sample_row(a, at, units, noise, noise_at, ints, list_at):
    """Sample ``units`` units from the logits at ``a[at:]``.

    A unit is 1 where its noise is below its probability. The logits become bit - probability. The
    units that are 1 are listed from ``list_at`` on.

    Returns:
        The end of the list, and the log-probability of the sample, nats.
    """
    # Lane by lane: ``factors`` is a product of 1 + e^-|l|, of which ``waiting`` are multiplied so
    # far, and ``unlikely`` is the sum of -|l| of the units that do not have their likelier value.
    zero = splat(float32(0))
    one = splat(float32(1))
    factors = one
    unlikely = zero
    logs = 0.0
    waiting = 0

    for c in range(0, units, LANES):
        # ``bits`` and ``negative`` are integers with a bit for each lane. Logits are padded to
        # whole vectors, but the noise is not and may end with the last unit.
        logits = load(a, at + c)
        uniform = (
            load(noise, noise_at + c)
            if c + LANES <= units
            else load_first(noise, noise_at + c, units - c)
        )
        q, factor = sigmoid(logits)
        bits = less(uniform, q)
        store(a, at + c, sub(choose(bits, one, zero), q))

        # log p = -log(1 + e^-|l|), minus |l| where the bit is not the likelier one. The likelier
        # value is 0 where l < 0: bit ^ negative is 1 where the bit has it.
        negative = less(logits, zero)
        minus_size = choose(negative, logits, sub(zero, logits))
        unlikely = add(unlikely, choose(bits ^ negative, zero, minus_size))
        factors = mul(factors, factor)
        waiting += 1
        if waiting == FLUSH:
            logs += math.log(product(factors))
            factors = one
            waiting = 0

        if c + LANES > units:
            bits &= (1 << (units - c)) - 1
        list_at = list_ones(bits, c, ints, list_at)
    return list_at, total(unlikely) - (logs + math.log(product(factors)))


@kernel
def log_prob_row(a, at, units, ints, begin, end, rate):
    """Return the log-probability, nats, of an example whose units that are 1 are listed.

    They are listed in ``ints[begin:end]``. The logits at ``a[at:]`` become ``rate`` (bit -
    probability).
    """
    # log p = sum x l - sum softplus(l), with softplus(l) = relu(l) + log(1 + e^-|l|). The first sum
    # has only the listed units, and it must be taken before the logits are overwritten.
    chosen = 0.0
    for k in range(begin, end):
        chosen += a[at + ints[k]]

    zero = splat(float32(0))
    one = splat(float32(1))
    minus_rate = splat(float32(-rate))
    factors = one
    positive = zero
    logs = 0.0
    waiting = 0
    for c in range(0, units, LANES):
        logits = load(a, at + c)
        q, factor = sigmoid(logits)
        store(a, at + c, mul(minus_rate, q))
        positive = add(positive, choose(less(logits, zero), zero, logits))
        factors = mul(factors, factor)
        waiting += 1
        if waiting == FLUSH:
            logs += math.log(product(factors))
            factors = one
            waiting = 0

    # So far the deltas are -rate q. The listed units have the bit 1.
    for k in range(begin, end):
        a[at + ints[k]] += float32(rate)
    return chosen - total(positive) - (logs + math.log(product(factors)))


@kernel
def draw_row(a, at, units, noise, noise_at, ints, list_at):
    """Sample as ``sample_row`` does, without log-probability and gradient.

    The logits stay as they are.
    """
    for c in range(0, units, LANES):
        uniform = (
            load(noise, noise_at + c)
            if c + LANES <= units
            else load_first(noise, noise_at + c, units - c)
        )
        q, _ = sigmoid(load(a, at + c))
        bits = less(uniform, q)
        if c + LANES > units:
            bits &= (1 << (units - c)) - 1
        list_at = list_ones(bits, c, ints, list_at)
    return list_at


@kernel
def drive_row(a, at, units, ints, begin, end, rate):
    """Turn the logits into ``rate`` (bit - probability), as ``log_prob_row`` does.

    No log-probability is computed.
    """
    minus_rate = splat(float32(-rate))
    for c in range(0, units, LANES):
        q, _ = sigmoid(load(a, at + c))
        store(a, at + c, mul(minus_rate, q))

    for k in range(begin, end):
        a[at + ints[k]] += float32(rate)


@kernel
def tanh_row(a, at, units, weights, weights_at):
    """Replace the ``units`` (padded) numbers at ``a[at:]`` by their tanh.

    Returns the scalar product of the result with ``weights``.
    """
    zero = splat(float32(0))
    one = splat(float32(1))
    products = zero
    for c in range(0, units, LANES):
        # tanh |x| = (1 - e^-2|x|) / (1 + e^-2|x|), and tanh is odd.
        x = load(a, at + c)
        e = exp_minus_abs(add(x, x))
        t = div(sub(one, e), add(one, e))
        t = choose(less(x, zero), sub(zero, t), t)
        store(a, at + c, t)
        products = fma(t, load(weights, weights_at + c), products)
    return total(products)
