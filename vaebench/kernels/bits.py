"""Affine functions of bits by tables.

The product of bits and a matrix is a sum of rows, which is computed four rows at a time. Bits come
in words of 16, and a table holds the 16 sums of every four rows: a product of n rows is n / 4
additions and no multiplication. A table is cut into strips of 16 columns, each with the sums of all
its rows in one piece, so that a strip (28 KB for 100 rows) stays in the first cache while thousands
of products pass over it.
"""

from __future__ import annotations

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import LANES, add, choose, less, load, load_first, splat, store

ENTRIES = 16
"""Number of sums of every four rows."""

ROW_GROUPS = LANES // 4
"""Number of groups of four rows in a word of bits."""

WORD = ROW_GROUPS * ENTRIES * LANES
"""Number of floats in a strip of a table for every word of bits."""


@kernel
def fill_table(table, matrix, rows, columns):
    """Fill the table of ``matrix`` (rows, columns), by strips and words.

    The table is (strips, words, 4, 16, 16). Rows and columns of the padding are zeros.
    """
    # Entry i of a group is the sum of those of its four rows whose bit is 1 in i.
    zero = splat(float32(0))
    words = -(-rows // LANES)
    for c in range(-(-columns // LANES)):
        for group in range(words * ROW_GROUPS):
            place = (c * words * ROW_GROUPS + group) * ENTRIES * LANES
            store(table, place, zero)

            # With each further row there are twice as many sums: those so far, without it, and the
            # same with it, 1 << bit entries later.
            for bit in range(4):
                row = group * 4 + bit
                added = (
                    load_first(matrix, row * columns + c * LANES, columns - c * LANES)
                    if row < rows
                    else zero
                )
                for i in range(1 << bit):
                    store(
                        table,
                        place + ((1 << bit) + i) * LANES,
                        add(added, load(table, place + i * LANES)),
                    )


@kernel
def sum_rows(table, strip, words, state, at):
    """Return one strip's columns of the product with the bits in the ``words`` words at ``at``.

    The strip begins at ``strip`` in the table.
    """
    # Four sums, since an addition waits for the one before it: one for each group of four bits of a
    # word. The table of a group has ENTRIES x LANES = 256 floats.
    sum_a = splat(float32(0))
    sum_b = sum_a
    sum_c = sum_a
    sum_d = sum_a
    for s in range(words):
        bits = state[at + s]
        place = strip + s * WORD
        sum_a = add(sum_a, load(table, place + (bits & 15) * LANES))
        sum_b = add(sum_b, load(table, place + 256 + ((bits >> 4) & 15) * LANES))
        sum_c = add(sum_c, load(table, place + 512 + ((bits >> 8) & 15) * LANES))
        sum_d = add(sum_d, load(table, place + 768 + (bits >> 12) * LANES))

    return add(add(sum_a, sum_b), add(sum_c, sum_d))


@kernel
def pack(values, stride, rows, columns, words, state):
    """Write the bits 1[value > 1/2] of ``rows`` rows, ``stride`` apart, as words, row after row."""
    half = splat(float32(0.5))
    for r in range(rows):
        for c in range(words):
            place = r * stride + c * LANES
            width = columns - c * LANES
            v = load(values, place) if width >= LANES else load_first(values, place, width)
            state[r * words + c] = less(half, v)


@kernel
def unpack(state, words, rows, values):
    """Write the bits of ``rows`` rows as zeros and ones, 16 for every word."""
    zero = splat(float32(0))
    one = splat(float32(1))
    for i in range(rows * words):
        store(values, i * LANES, choose(state[i], one, zero))
