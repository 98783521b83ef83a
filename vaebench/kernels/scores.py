"""Log-probabilities and samples of layers of Bernoulli units with fixed weights.

Thousands of rows are taken at a time. Parents are bits, in words of 16, so logits are sums of rows
of a table (compare ``bits``, which has strips of 16). A layer is taken by strips of 32 units: all
rows pass over a part of a strip's table, which stays in the first cache, and the logits of the
strip are used up before the next one.

A row is a sample of an example. ``memory`` is (rows, 32), the logits of the present strip, and
behind it (rows, 2, 16), two running vectors of each row. The first is a sum of -|logit| over units
that do not have their likelier value, the second a product of factors 1 + e^-|logit|, see
``bernoulli``. As 2 x 16 is STRIP, those of row r begin at (rows + r) STRIP.

Only rows from ``first`` on are computed in a call: row r of ``memory`` and ``logs`` is row
``first`` + r of the bits and the noise.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32

from vaebench.kernels.bernoulli import FLUSH, sigmoid
from vaebench.kernels.bits import ENTRIES, ROW_GROUPS
from vaebench.kernels.chained import sample_chain
from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    exp_minus_abs,
    less,
    load,
    load_first,
    memory,
    mul,
    product,
    splat,
    store,
    sub,
    total,
)

STRIP = 2 * LANES
"""Number of units taken at a time: what a word selects is looked up once for two vectors."""

WORD = ROW_GROUPS * ENTRIES * STRIP
"""Number of floats in a strip of a table for every word of bits."""

PART = 5
"""Number of words of a strip taken at a time: their 40 KB nearly fill a first cache."""

SUMS = STRIP + 2 * LANES
"""Number of floats of ``memory`` for a row."""

TURNS = 64
"""Number of rows whose autoregressive units are sampled beside each other."""

_load, _store, _add = memory(STRIP)


@kernel
def fill_table(table, matrix, rows, columns, row_stride, column_stride):
    """Write the sums of every four rows of ``matrix`` (rows, columns), by strips and words.

    The table is (strips, words, 4, 16, 32). It holds zeros before. Element (r, c) of the matrix
    lies at r ``row_stride`` + c ``column_stride``.
    """
    # Entry i of a group of four rows is the sum of those whose bit is 1 in i. Each further row
    # doubles the number of sums: those so far, without it, and the same with it.
    words = -(-rows // LANES)
    for c in range(columns):
        strip = c // STRIP * words * WORD + c % STRIP
        for group in range(words * ROW_GROUPS):
            place = strip + group * ENTRIES * STRIP
            for bit in range(4):
                row = group * 4 + bit
                weight = matrix[row * row_stride + c * column_stride] if row < rows else float32(0)
                for i in range(1 << bit):
                    table[place + ((1 << bit) + i) * STRIP] = table[place + i * STRIP] + weight


@kernel
def start_strip(memory, c, base, stride, cycle, first, rows):
    """Set the logits of a strip to those without any parent.

    Row ``r`` gets row (``first`` + r) modulo ``cycle`` of ``base``: one row for all if it holds
    biases, or one for each example.
    """
    # Counting is cheaper than a division for every row.
    i = first % cycle
    for r in range(rows):
        _store(memory, r * STRIP, _load(base, i * stride + c))
        i += 1
        if i == cycle:
            i = 0


@kernel
def add_table(memory, c, table, words, state, first, rows):
    """Add to the logits of a strip the product of the table's matrix and the bits in ``state``.

    ``state`` has ``words`` words a row.
    """
    # A few words of all rows before the next words: their part of the table stays in the cache.
    strip = c // STRIP * words * WORD
    step = ENTRIES * STRIP
    for start in range(0, words, PART):
        stop = min(start + PART, words)
        for r in range(rows):
            # Two sums, since an addition waits for the one before it.
            sum_a = _load(memory, r * STRIP)
            sum_b = _load(table, strip)  # the sum of no row: zeros
            for s in range(start, stop):
                # An unsigned index saves the test whether it counts from the end.
                bits = np.int64(state[np.uint64((first + r) * words + s)])
                place = strip + s * WORD
                sum_a = _add(sum_a, _load(table, place + (bits & 15) * STRIP))
                sum_b = _add(sum_b, _load(table, place + step + ((bits >> 4) & 15) * STRIP))
                sum_a = _add(sum_a, _load(table, place + 2 * step + ((bits >> 8) & 15) * STRIP))
                sum_b = _add(sum_b, _load(table, place + 3 * step + (bits >> 12) * STRIP))
            _store(memory, r * STRIP, _add(sum_a, sum_b))


@kernel
def find_logits(memory, c, base, stride, cycle, table, words, parents, first, rows):
    """Compute the logits of a strip from ``base`` and the parents."""
    start_strip(memory, c, base, stride, cycle, first, rows)
    if len(table):
        add_table(memory, c, table, words, parents, first, rows)


@kernel
def account(memory, place, logits, bits, factor):
    """Add 16 units to a row's sums.

    log p = -log(1 + e^-|l|), minus |l| where the bit is not the likelier one.
    """
    # ``margin`` is l for a 1 and -l for a 0. It is negative where the other value is likelier.
    zero = splat(float32(0))
    margin = choose(bits, logits, sub(zero, logits))
    cost = choose(less(margin, zero), margin, zero)
    store(memory, place, add(load(memory, place), cost))
    store(memory, place + LANES, mul(load(memory, place + LANES), factor))


@kernel
def begin(memory, logs):
    """Begin the sums of all rows: 0 for costs, 1 for products of factors."""
    rows = len(logs)
    for r in range(rows):
        logs[r] = 0.0
        place = rows * STRIP + r * 2 * LANES
        store(memory, place, splat(float32(0)))
        store(memory, place + LANES, splat(float32(1)))


@kernel
def flush(memory, logs):
    """Take the logarithms of the products of factors, before they leave the range of a float."""
    rows = len(logs)
    for r in range(rows):
        place = rows * STRIP + r * 2 * LANES + LANES
        logs[r] -= math.log(product(load(memory, place)))
        store(memory, place, splat(float32(1)))


@kernel
def end(memory, logs):
    """Write the log-probabilities, nats, to ``logs``."""
    rows = len(logs)
    flush(memory, logs)
    for r in range(rows):
        logs[r] += total(load(memory, rows * STRIP + r * 2 * LANES))


@kernel
def score(
    memory, logs, first, units, base, stride, cycle, table, words, parents, chain, bits, bits_cycle
):
    """Compute log-probabilities, nats, of the values ``bits`` of the units.

    The rows are those from ``first`` on, as many as ``logs`` has.

    Args:
        memory: Room for SUMS floats a row, see the module docstring.
        logs: Gets the log-probabilities, (rows,), float64.
        first: The first row.
        units: Number of units.
        base: Logits without parents, ``cycle`` rows of ``stride`` floats, as ``start_strip`` takes
            them; OFF beyond the last unit.
        table: The table of the weights of the parents; empty if there are none.
        words: Number of words of bits for every row of ``parents``.
        parents: The bits of the parents, in words, row after row.
        chain: The table of what units give to later ones; empty if they give nothing. With a chain
            every row must have bits of its own.
        bits: The bits of the units, ``bits_cycle`` rows. Row r takes row r modulo ``bits_cycle``:
            all samples of an example share its visible units.
    """
    rows = len(logs)
    own_words = -(-units // LANES)
    one = splat(float32(1))
    begin(memory, logs)

    for c in range(0, units, STRIP):
        # All units are known, so what they give to later ones is a product with their own bits.
        find_logits(memory, c, base, stride, cycle, table, words, parents, first, rows)
        if len(chain):
            add_table(memory, c, chain, own_words, bits, first, rows)

        # Use the logits up, a vector of the strip after the other.
        for unit in range(c, min(c + STRIP, own_words * LANES), LANES):
            i = first % bits_cycle
            for r in range(rows):
                logits = load(memory, r * STRIP + unit - c)
                factor = add(one, exp_minus_abs(logits))
                account(
                    memory,
                    (rows + r) * STRIP,
                    logits,
                    np.int64(bits[i * own_words + unit // LANES]),
                    factor,
                )
                i += 1
                if i == bits_cycle:
                    i = 0
            if unit // LANES % FLUSH == FLUSH - 1:
                flush(memory, logs)

    end(memory, logs)


@kernel
def score_fixed(logs, first, units, logits, constant, bits):
    """Compute log-probabilities as ``score`` does, where all rows have the same ``logits``.

    ``constant`` is the log-probability of a row of zeros, nats.
    """
    # log p = sum x l - sum softplus(l), of which the second sum is the same for all rows.
    own_words = -(-units // LANES)
    zero = splat(float32(0))
    for r in range(len(logs)):
        chosen = zero
        for word in range(own_words):
            fired = np.int64(bits[np.uint64((first + r) * own_words + word)])
            chosen = add(chosen, choose(fired, load(logits, word * LANES), zero))
        logs[r] = constant + total(chosen)


@kernel
def sample(memory, logs, first, units, base, stride, cycle, table, words, parents, noise, bits):
    """Draw samples and compute their log-probabilities as ``score`` does.

    A unit is 1 where its ``noise`` is below its probability. ``bits`` gets the samples, in words.
    """
    rows = len(logs)
    own_words = -(-units // LANES)
    begin(memory, logs)

    for c in range(0, units, STRIP):
        find_logits(memory, c, base, stride, cycle, table, words, parents, first, rows)
        for unit in range(c, min(c + STRIP, own_words * LANES), LANES):
            for r in range(rows):
                # The noise is (rows, units), not padded.
                place = (first + r) * units + unit
                uniform = (
                    load(noise, place)
                    if unit + LANES <= units
                    else load_first(noise, place, units - unit)
                )
                logits = load(memory, r * STRIP + unit - c)
                q, factor = sigmoid(logits)
                fired = less(uniform, q)
                bits[(first + r) * own_words + unit // LANES] = fired
                account(memory, (rows + r) * STRIP, logits, fired, factor)
            if unit // LANES % FLUSH == FLUSH - 1:
                flush(memory, logs)

    end(memory, logs)


@kernel
def sample_chained(
    memory,
    logs,
    first,
    units,
    base,
    stride,
    cycle,
    table,
    words,
    parents,
    noise,
    bits,
    chain,
    rooms,
):
    """Draw samples as ``sample`` does, of autoregressive units, one unit after the other.

    Args:
        chain: Weights by source, zero up to the source itself, and the length of their rows: see
            ``chained``.
        rooms: Floats for the logits of all rows and the thresholds of TURNS rows, each row with the
            units rounded up to whole strips; integers for TURNS rows.
    """
    # ``room`` is (rows, length), the logits, and behind them (TURNS, length), the thresholds.
    rows = len(logs)
    own_words = -(-units // LANES)
    weights, weights_stride = chain
    room, ints = rooms
    length = -(-units // STRIP) * STRIP

    # All logits from the parents, which the chain then adds to. Unlike in ``sample`` they must be
    # kept, as a unit needs those before it.
    for c in range(0, units, STRIP):
        find_logits(memory, c, base, stride, cycle, table, words, parents, first, rows)
        for r in range(rows):
            _store(room, r * length + c, _load(memory, r * STRIP))

    # The sampler leaves logits and thresholds, but no words of bits. The comparisons are made once
    # more: a logit has not changed since its unit was drawn, as later units add zeros to it.
    thresholds = rows * length
    source = weights, 0, weights_stride
    for r in range(0, rows, TURNS):
        count = min(TURNS, rows - r)
        noise_at = (first + r) * units
        at = r * length
        sample_chain(room, at, length, source, noise, noise_at, count, units, thresholds, ints, 0)
        for b in range(r, r + count):
            for word in range(own_words):
                threshold = load(room, thresholds + (b - r) * length + word * LANES)
                fired = less(threshold, load(room, b * length + word * LANES))
                bits[(first + b) * own_words + word] = fired

    # Log-probabilities from the complete logits.
    begin(memory, logs)
    one = splat(float32(1))
    for word in range(own_words):
        for r in range(rows):
            logits = load(room, r * length + word * LANES)
            fired = np.int64(bits[(first + r) * own_words + word])
            account(memory, (rows + r) * STRIP, logits, fired, add(one, exp_minus_abs(logits)))
        if word % FLUSH == FLUSH - 1:
            flush(memory, logs)
    end(memory, logs)
