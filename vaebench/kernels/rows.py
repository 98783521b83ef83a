"""Products with vectors of zeros and ones as sums of rows.

x W for bits x is the sum of the rows of W whose bit is 1. In the gradient of W each row gets the
sum of the deltas of the examples whose bit is 1. ``add_rows`` computes both: to every row of one
array it adds some rows of another. It goes through both arrays by strips of a few vectors, so that
the sums stay in registers and the sources in the first cache.

Lists of numbers say which rows are added. They all lie in one array of integers: list ``s`` of the
lists at ``bounds`` is ``ints[ints[bounds + 2 s] : ints[bounds + 2 s + 1]]``.
"""

from __future__ import annotations

from collections.abc import Callable

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import LANES, memory, number, put_number


def _strip(lanes: int) -> Callable:
    """Make ``add_rows`` for columns ``c`` ... ``c + lanes``."""
    load, store, add = memory(lanes)

    @kernel
    def strip(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c):
        for s in range(first, last):
            k = number(ints, bounds + 2 * s)
            end = number(ints, bounds + 2 * s + 1)
            if k >= end:
                continue

            # Two sums, since an addition waits four cycles for the one before it. The second one
            # starts with the first listed row instead of zeros.
            place = to_at + s * to_stride + c
            at = source_at + c
            sum_a = load(to, place)
            if end - k > 1:
                sum_b = load(source, at + number(ints, k) * source_stride)
                k += 1
                while k + 1 < end:
                    sum_a = add(sum_a, load(source, at + number(ints, k) * source_stride))
                    sum_b = add(sum_b, load(source, at + number(ints, k + 1) * source_stride))
                    k += 2
                sum_a = add(sum_a, sum_b)

            # The row that is left over if the rest did not come in pairs.
            if k < end:
                sum_a = add(sum_a, load(source, at + number(ints, k) * source_stride))
            store(to, place, sum_a)

    return strip


_strip_16, _strip_32, _strip_64, _strip_128 = (_strip(n * LANES) for n in (1, 2, 4, 8))

RESIDENT = 96
"""Number of rows of a strip of 64 columns that fill half of a first cache of 48 KB."""


@kernel
def add_rows(
    to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, start, stop
):
    """Add rows of ``source`` to the rows ``first`` ... ``last`` of ``to``.

    Only the columns ``start`` ... ``stop`` are added, whose number is a multiple of 16. Row r of an
    array lies at its ``at`` + r ``stride``. Row s of ``to`` gets the rows in list s of those at
    ``bounds``.
    """
    # The widest strips first: a wide strip reads the lists once for more columns. What remains
    # after them is less than 128 columns, so each narrower width is needed at most once.
    c = start
    while c + 128 <= stop:
        _strip_128(
            to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c
        )
        c += 128
    if c + 64 <= stop:
        _strip_64(
            to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c
        )
        c += 64
    if c + 32 <= stop:
        _strip_32(
            to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c
        )
        c += 32
    if c + 16 <= stop:
        _strip_16(
            to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c
        )


@kernel
def add_many_rows(
    to,
    to_at,
    to_stride,
    source,
    source_at,
    source_stride,
    ints,
    bounds,
    lists,
    width,
    rows,
    scratch,
):
    """Add rows as ``add_rows`` does, if lists in rising order name many of the ``rows`` rows.

    The rows are taken in parts, so that a part of a strip stays in the first cache while every list
    passes over it. ``scratch`` is a place in ``ints`` for the bounds of every part.
    """
    # Cut every list where its numbers pass into the next part of the rows. This takes one pass, as
    # the lists rise. The bounds at ``scratch`` are (parts, lists, 2): those of a part lie together,
    # as ``_strip`` reads them.
    parts = -(-rows // RESIDENT)
    for s in range(lists):
        k = number(ints, bounds + 2 * s)
        end = number(ints, bounds + 2 * s + 1)
        for part in range(parts):
            place = scratch + 2 * (part * lists + s)
            put_number(ints, place, k)
            while k < end and number(ints, k) < (part + 1) * RESIDENT:
                k += 1
            put_number(ints, place + 1, k)

    # RESIDENT is chosen for strips of 64 columns.
    c = 0
    while c + 64 <= width:
        for part in range(parts):
            at = scratch + 2 * part * lists
            _strip_64(to, to_at, to_stride, source, source_at, source_stride, ints, at, 0, lists, c)
        c += 64

    # The last columns, fewer than 64, are taken without parts.
    add_rows(
        to, to_at, to_stride, source, source_at, source_stride, ints, bounds, 0, lists, c, width
    )


@kernel
def _fill(ints, bounds, cases, to_bounds):
    """Append every example to the list of each unit that its own list names.

    The new lists are empty before. The second bound of a list is where its next number goes.
    """
    for b in range(cases):
        for k in range(number(ints, bounds + 2 * b), number(ints, bounds + 2 * b + 1)):
            bound = to_bounds + 2 * number(ints, k) + 1
            end = number(ints, bound)
            put_number(ints, end, b)
            put_number(ints, bound, end + 1)


@kernel
def transpose(ints, bounds, cases, units, to_bounds, to_at):
    """Turn lists of the units that are 1 in each example into lists of the examples of each unit.

    Every new list has room for all examples, one list after the other from ``to_at`` on, and is in
    the order of the examples.
    """
    # With room for all examples nothing needs to be counted first; compare ``transpose_repeated``.
    for u in range(units):
        put_number(ints, to_bounds + 2 * u, to_at + u * cases)
        put_number(ints, to_bounds + 2 * u + 1, to_at + u * cases)
    _fill(ints, bounds, cases, to_bounds)


@kernel
def transpose_repeated(ints, bounds, cases, units, to_bounds, to_at):
    """Transpose lists as ``transpose`` does, where a list may name a unit several times.

    Then the unit's list names the example as often. The new lists follow each other without gaps.
    """
    # A unit may be named more often than there are examples, so the lengths are counted first. The
    # place of a list's second bound holds its count meanwhile.
    for u in range(units):
        put_number(ints, to_bounds + 2 * u + 1, 0)
    for b in range(cases):
        for k in range(number(ints, bounds + 2 * b), number(ints, bounds + 2 * b + 1)):
            count = to_bounds + 2 * number(ints, k) + 1
            put_number(ints, count, number(ints, count) + 1)

    # From counts to places: each list begins where the one before it will end.
    at = to_at
    for u in range(units):
        count = number(ints, to_bounds + 2 * u + 1)
        put_number(ints, to_bounds + 2 * u, at)
        put_number(ints, to_bounds + 2 * u + 1, at)
        at += count
    _fill(ints, bounds, cases, to_bounds)
