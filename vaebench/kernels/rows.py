"""Products with vectors of zeros and ones as sums of rows.

x W for bits x is the sum of the rows of W whose bit is 1; the gradient of W takes, row by row, the
sum of the deltas of those cases whose bit is 1. Both are ``add_rows``: to every row of one array
some rows of another are added. It goes through both by strips of a few vectors, whose sums stay in
registers and whose sources stay in the first cache.

Which rows these are say lists of numbers, all in one array of integers: list ``s`` of the lists at
``bounds`` is ``ints[ints[bounds + 2 s] : ints[bounds + 2 s + 1]]``.
"""

from __future__ import annotations

from collections.abc import Callable

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import LANES, memory, number, put_number


def _strip(lanes: int) -> Callable:
    """``add_rows`` for columns ``c`` ... ``c + lanes``."""
    load, store, add = memory(lanes)

    @kernel
    def strip(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c):
        for s in range(first, last):
            k = number(ints, bounds + 2 * s)
            end = number(ints, bounds + 2 * s + 1)
            if k >= end:
                continue

            # Two sums, since an addition waits four cycles for the one before it.
            place = to_at + s * to_stride + c
            at = source_at + c
            one = load(to, place)
            if end - k > 1:
                other = load(source, at + number(ints, k) * source_stride)
                k += 1
                while k + 1 < end:
                    one = add(one, load(source, at + number(ints, k) * source_stride))
                    other = add(other, load(source, at + number(ints, k + 1) * source_stride))
                    k += 2
                one = add(one, other)
            if k < end:
                one = add(one, load(source, at + number(ints, k) * source_stride))
            store(to, place, one)

    return strip


_strip_16, _strip_32, _strip_64, _strip_128 = (_strip(n * LANES) for n in (1, 2, 4, 8))

RESIDENT = 96
"""Rows of a strip of 64 columns that fill half of a first cache of 48 KB."""


@kernel
def add_rows(
    to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, start, stop
):
    """Add rows of ``source`` to rows of ``to``, in some columns.

    To the rows ``first`` ... ``last``, in the columns ``start`` ... ``stop``. Row r of an array
    lies at its ``at`` + r ``stride``. Row s of ``to`` gets the rows in list s of those at
    ``bounds``. ``stop - start`` is a multiple of 16.
    """
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
    """As ``add_rows``, where the rising lists name many of the ``rows`` rows.

    These are taken in parts. A part of a strip stays in the first cache while every list passes
    over it. ``scratch``: a place in ``ints`` for the bounds of every part.
    """
    parts = -(-rows // RESIDENT)
    for s in range(lists):
        k, end = number(ints, bounds + 2 * s), number(ints, bounds + 2 * s + 1)
        for part in range(parts):
            place = scratch + 2 * (part * lists + s)
            put_number(ints, place, k)
            while k < end and number(ints, k) < (part + 1) * RESIDENT:
                k += 1
            put_number(ints, place + 1, k)

    c = 0
    while c + 64 <= width:
        for part in range(parts):
            at = scratch + 2 * part * lists
            _strip_64(to, to_at, to_stride, source, source_at, source_stride, ints, at, 0, lists, c)
        c += 64
    add_rows(
        to, to_at, to_stride, source, source_at, source_stride, ints, bounds, 0, lists, c, width
    )


@kernel
def _fill(ints, bounds, cases, to_bounds):
    """Append every case to the list of each unit that its own list names."""
    for b in range(cases):
        for k in range(number(ints, bounds + 2 * b), number(ints, bounds + 2 * b + 1)):
            bound = to_bounds + 2 * number(ints, k) + 1
            end = number(ints, bound)
            put_number(ints, end, b)
            put_number(ints, bound, end + 1)


@kernel
def transpose(ints, bounds, cases, units, to_bounds, to_at):
    """From lists of the units that are 1 in each case, lists of the cases in which each unit is 1.

    Every new list has room for all cases, one after the other from ``to_at`` on, and is in the
    order of the cases.
    """
    for u in range(units):
        put_number(ints, to_bounds + 2 * u, to_at + u * cases)
        put_number(ints, to_bounds + 2 * u + 1, to_at + u * cases)
    _fill(ints, bounds, cases, to_bounds)


@kernel
def transpose_repeated(ints, bounds, cases, units, to_bounds, to_at):
    """As ``transpose``, where a list may name a unit several times.

    Then the unit's list names the case as often. The new lists follow each other without gaps.
    """
    for u in range(units):
        put_number(ints, to_bounds + 2 * u + 1, 0)
    for b in range(cases):
        for k in range(number(ints, bounds + 2 * b), number(ints, bounds + 2 * b + 1)):
            count = to_bounds + 2 * number(ints, k) + 1
            put_number(ints, count, number(ints, count) + 1)

    at = to_at
    for u in range(units):
        count = number(ints, to_bounds + 2 * u + 1)
        put_number(ints, to_bounds + 2 * u, at)
        put_number(ints, to_bounds + 2 * u + 1, at)
        at += count
    _fill(ints, bounds, cases, to_bounds)
