"""Products with vectors of zeros and ones as sums of rows.

x W for bits x is the sum of the rows of W whose bit is 1; the gradient of W takes, row by row, the sum of the deltas of
those cases whose bit is 1. Both are ``add_rows``: to every row of one array some rows of another are added. It goes
through both by strips of a few vectors, whose sums stay in registers and whose sources stay in the first cache.

Which rows these are say lists of numbers, all in one array of integers: list ``s`` of the lists at ``bounds`` is
``ints[ints[bounds + 2 s] : ints[bounds + 2 s + 1]]``.
"""

from __future__ import annotations

from collections.abc import Callable

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import LANES, memory


def _strip(lanes: int) -> Callable:
    """``add_rows`` for columns ``c`` ... ``c + lanes``."""
    load, store, add = memory(lanes)

    @kernel
    def strip(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c):
        for s in range(first, last):
            k = ints[bounds + 2 * s]
            end = ints[bounds + 2 * s + 1]
            if k >= end:
                continue

            # Two sums, since an addition waits four cycles for the one before it.
            place = to_at + s * to_stride + c
            at = source_at + c
            one = load(to, place)
            if end - k > 1:
                other = load(source, at + ints[k] * source_stride)
                k += 1
                while k + 1 < end:
                    one = add(one, load(source, at + ints[k] * source_stride))
                    other = add(other, load(source, at + ints[k + 1] * source_stride))
                    k += 2
                one = add(one, other)
            if k < end:
                one = add(one, load(source, at + ints[k] * source_stride))
            store(to, place, one)

    return strip


_strip_16, _strip_32, _strip_64 = (_strip(n * LANES) for n in (1, 2, 4))


@kernel
def add_rows(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, start, stop):
    """Add rows of ``source`` to the rows ``first`` ... ``last`` of ``to``, in the columns ``start`` ... ``stop``.

    Row r of an array lies at its ``at`` + r ``stride``. Row s of ``to`` gets the rows in list s of those at ``bounds``.
    ``stop - start`` is a multiple of 16.
    """
    c = start
    while c + 64 <= stop:
        _strip_64(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c)
        c += 64
    if c + 32 <= stop:
        _strip_32(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c)
        c += 32
    if c + 16 <= stop:
        _strip_16(to, to_at, to_stride, source, source_at, source_stride, ints, bounds, first, last, c)


@kernel
def transpose(ints, bounds, cases, units, to_bounds, to_at):
    """From lists of the units that are 1 in each case, lists of the cases in which each unit is 1.

    The new lists lie one after the other from ``to_at`` on, each in the order of the cases.
    """
    for u in range(units):
        ints[to_bounds + 2 * u + 1] = 0
    for b in range(cases):
        for k in range(ints[bounds + 2 * b], ints[bounds + 2 * b + 1]):
            ints[to_bounds + 2 * ints[k] + 1] += 1

    at = to_at
    for u in range(units):
        count = ints[to_bounds + 2 * u + 1]
        ints[to_bounds + 2 * u] = at
        ints[to_bounds + 2 * u + 1] = at
        at += count

    for b in range(cases):
        for k in range(ints[bounds + 2 * b], ints[bounds + 2 * b + 1]):
            place = to_bounds + 2 * ints[k] + 1
            ints[ints[place]] = b
            ints[place] += 1
