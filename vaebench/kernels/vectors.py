"""Vectors of floats inside Numba functions: explicit SIMD, so that sums stay in registers.

A ``Vector`` of 16 float32 is one register of AVX-512, two of AVX, four of NEON; LLVM splits it as
the machine needs. The functions below work on one-dimensional contiguous float32 arrays and
positions in them. Nothing checks bounds.

An *intrinsic* is written in two stages, as Numba wants it. Its outer function gets the types of the
arguments and returns the types of the call, ``result(arguments)``, and ``generate``. ``generate``
writes the LLVM instructions at the place of the call; ``args`` are the values there, in the order
of the outer function's arguments without ``typing``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import register_model

from vaebench.kernels.compiler import intrinsic, kernel

LANES = 16
"""Number of floats in a vector of the element-by-element functions. Rows are padded to multiples of
it.
"""

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_DOUBLE = ir.DoubleType()


class Vector(types.Type):
    """A Numba type: ``lanes`` floats that are kept in registers."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Vector{lanes}")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(_FLOAT, fe_type.lanes))


class Memory(NamedTuple):
    """How vectors of one width are read, written and added.

    ``load(a, at)``, ``store(a, at, v)``, ``add(v, w)``.
    """

    load: Callable
    store: Callable
    add: Callable


def _place(context, builder, sig, args):
    """Return a pointer to the element ``args[1]`` of the array ``args[0]``."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def memory(lanes: int) -> Memory:
    """Make the loads, stores and sums of vectors of ``lanes`` floats, a power of two."""
    # ``vector`` is Numba's type, ``wide`` LLVM's. Arrays are aligned to floats only, hence align=4.
    vector = Vector(lanes)
    wide = ir.VectorType(_FLOAT, lanes)

    @intrinsic
    def load(typing, a, at):
        def generate(context, builder, sig, args):
            place = builder.bitcast(_place(context, builder, sig, args), wide.as_pointer())
            return builder.load(place, align=4)

        return vector(a, types.intp), generate

    @intrinsic
    def store(typing, a, at, v):
        def generate(context, builder, sig, args):
            place = builder.bitcast(_place(context, builder, sig, args), wide.as_pointer())
            builder.store(args[2], place, align=4)
            return context.get_dummy_value()

        return types.void(a, types.intp, vector), generate

    return Memory(load, store, _binary(vector, "fadd"))


@intrinsic
def number(typing, a, at):
    """Return the whole number ``a[at]``, where ``a`` is an array of int32.

    Python's negative positions, which count from the end, would cost a comparison at every index.
    """

    def generate(context, builder, sig, args):
        # 64 bits, as Numba's whole numbers have.
        return builder.sext(
            builder.load(_place(context, builder, sig, args), align=4), ir.IntType(64)
        )

    return types.int64(a, types.intp), generate


@intrinsic
def real(typing, a, at):
    """Return the float ``a[at]``, also for ``at`` before the beginning of ``a``; see ``number``."""

    def generate(context, builder, sig, args):
        return builder.load(_place(context, builder, sig, args), align=4)

    return types.float32(a, types.intp), generate


@intrinsic
def put_number(typing, a, at, value):
    """Set ``a[at] = value`` for an array of int32; see ``number``."""

    def generate(context, builder, sig, args):
        builder.store(builder.trunc(args[2], _INT), _place(context, builder, sig, args), align=4)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.int64), generate


def _binary(vector: Vector, operation: str) -> Callable:
    @intrinsic
    def function(typing, v, w):
        def generate(context, builder, sig, args):
            return getattr(builder, operation)(*args)

        return vector(vector, vector), generate

    return function


# Numba's type of the vectors below, and LLVM's types of 16 floats, integers, doubles and bits.
_V = Vector(LANES)
_WIDE = ir.VectorType(_FLOAT, LANES)
_WIDE_INT = ir.VectorType(_INT, LANES)
_WIDE_DOUBLE = ir.VectorType(_DOUBLE, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)

load, store, add = memory(LANES)
sub, mul, div = (_binary(_V, name) for name in ("fsub", "fmul", "fdiv"))


def _all(value: float) -> ir.Constant:
    return ir.Constant(_WIDE, [value] * LANES)


def _ints(value: int) -> ir.Constant:
    return ir.Constant(_WIDE_INT, [value] * LANES)


def _call(builder, name: str, *args):
    """Call a function of LLVM that takes and returns vectors of one type, such as llvm.fma."""
    kind = args[0].type
    suffix = f"v{LANES}f32"
    declared = builder.module.declare_intrinsic(
        f"llvm.{name}.{suffix}", fnty=ir.FunctionType(kind, [kind] * len(args))
    )
    return builder.call(declared, args)


def _fma(builder, a, b, c):
    return _call(builder, "fma", a, b, c)


def _polynomial(builder, x, coefficients):
    """Evaluate a polynomial by Horner's scheme, the coefficient of the highest power first."""
    value = _all(coefficients[0])
    for c in coefficients[1:]:
        value = _fma(builder, value, x, _all(c))
    return value


@intrinsic
def splat(typing, x):
    """Return a vector of equal floats."""

    def generate(context, builder, sig, args):
        # LLVM's idiom: put x into lane 0, then take lane 0 for every lane.
        first = builder.insert_element(
            ir.Constant(_WIDE, ir.Undefined), args[0], ir.Constant(_INT, 0)
        )
        return builder.shuffle_vector(first, ir.Constant(_WIDE, ir.Undefined), _ints(0))

    return _V(types.float32), generate


@intrinsic
def fma(typing, v, w, x):
    """Return v w + x, rounded once."""

    def generate(context, builder, sig, args):
        return _fma(builder, *args)

    return _V(_V, _V, _V), generate


def _mask(builder, count):
    """Return a mask with 1 in the first ``count`` lanes."""
    # The number of each lane is compared with ``count``, which is put into all lanes.
    count = builder.trunc(count, _INT)
    first = builder.insert_element(
        ir.Constant(_WIDE_INT, ir.Undefined), count, ir.Constant(_INT, 0)
    )
    limit = builder.shuffle_vector(first, ir.Constant(_WIDE_INT, ir.Undefined), _ints(0))
    return builder.icmp_signed("<", ir.Constant(_WIDE_INT, list(range(LANES))), limit)


@intrinsic
def load_first(typing, a, at, count):
    """Load only the first ``count`` floats of a vector.

    The other lanes are 0, and their memory is not touched.
    """

    def generate(context, builder, sig, args):
        place = builder.bitcast(_place(context, builder, sig, args), _WIDE.as_pointer())
        kind = ir.FunctionType(_WIDE, [_WIDE.as_pointer(), _INT, _MASK, _WIDE])
        declared = builder.module.declare_intrinsic(f"llvm.masked.load.v{LANES}f32.p0", fnty=kind)
        return builder.call(
            declared, [place, ir.Constant(_INT, 4), _mask(builder, args[2]), _all(0.0)]
        )

    return _V(a, types.intp, types.intp), generate


@intrinsic
def store_first(typing, a, at, v, count):
    """Store only the first ``count`` floats of a vector."""

    def generate(context, builder, sig, args):
        place = builder.bitcast(_place(context, builder, sig, args), _WIDE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_WIDE, _WIDE.as_pointer(), _INT, _MASK])
        declared = builder.module.declare_intrinsic(f"llvm.masked.store.v{LANES}f32.p0", fnty=kind)
        builder.call(declared, [args[2], place, ir.Constant(_INT, 4), _mask(builder, args[3])])
        return context.get_dummy_value()

    return types.void(a, types.intp, _V, types.intp), generate


@kernel
def load_row(a, at, left):
    """Load 16 floats, or the ``left`` last ones of a row and zeros."""
    return load(a, at) if left >= LANES else load_first(a, at, left)


@kernel
def store_row(a, at, v, left):
    """Store 16 floats, or the ``left`` last ones of a row."""
    if left >= LANES:
        store(a, at, v)
    else:
        store_first(a, at, v, left)


@intrinsic
def sqrt(typing, v):
    """Return the square root, rounded once."""

    def generate(context, builder, sig, args):
        return _call(builder, "sqrt", args[0])

    return _V(_V), generate


@intrinsic
def load_short(typing, a, at):
    """Load 16 signed numbers of 16 bits as floats; ``a`` is an array of int16."""

    def generate(context, builder, sig, args):
        kind = ir.VectorType(ir.IntType(16), LANES)
        place = builder.bitcast(_place(context, builder, sig, args), kind.as_pointer())
        return builder.sitofp(builder.sext(builder.load(place, align=2), _WIDE_INT), _WIDE)

    return _V(a, types.intp), generate


def _halves_of(builder, context, sig, args):
    """Return a pointer to 16 numbers of 16 bits, and the type of their vector."""
    kind = ir.VectorType(ir.IntType(16), LANES)
    return builder.bitcast(_place(context, builder, sig, args), kind.as_pointer()), kind


@intrinsic
def read(typing, a, at):
    """Load 16 numbers as floats.

    ``a`` is an array of float32, or of int16 that holds the bits of bfloat16.
    """

    def generate(context, builder, sig, args):
        if sig.args[0].dtype == types.float32:
            place = builder.bitcast(_place(context, builder, sig, args), _WIDE.as_pointer())
            return builder.load(place, align=4)

        # A bfloat16 is the upper half of a float32.
        place, _ = _halves_of(builder, context, sig, args)
        bits = builder.zext(builder.load(place, align=2), _WIDE_INT)
        return builder.bitcast(builder.shl(bits, _ints(16)), _WIDE)

    return _V(a, types.intp), generate


@intrinsic
def write(typing, a, at, v):
    """Store 16 floats in an array that ``read`` reads.

    For bfloat16 a float is rounded to the nearest number, or to the even one if two are as near.
    """

    def generate(context, builder, sig, args):
        if sig.args[0].dtype == types.float32:
            place = builder.bitcast(_place(context, builder, sig, args), _WIDE.as_pointer())
            builder.store(args[2], place, align=4)
            return context.get_dummy_value()

        # Keep the upper 16 bits. Before, add half of the last kept place, or a little less where
        # the kept part is even, so that halves go to the even number. A NaN could turn into an
        # infinity by the addition, so it is replaced by the quiet NaN.
        place, kind = _halves_of(builder, context, sig, args)
        bits = builder.bitcast(args[2], _WIDE_INT)
        odd = builder.and_(builder.lshr(bits, _ints(16)), _ints(1))
        rounded = builder.add(bits, builder.add(odd, _ints(0x7FFF)))
        is_nan = builder.fcmp_unordered("uno", args[2], args[2])
        rounded = builder.select(is_nan, _ints(0x7FC00000), rounded)
        builder.store(builder.trunc(builder.lshr(rounded, _ints(16)), kind), place, align=2)
        return context.get_dummy_value()

    return types.void(a, types.intp, _V), generate


@intrinsic
def less(typing, v, w):
    """Return v < w as the bits of an integer, the first lane lowest."""

    def generate(context, builder, sig, args):
        mask = builder.fcmp_ordered("<", *args)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(_V, _V), generate


@intrinsic
def choose(typing, bits, v, w):
    """Return, lane by lane, v where the bit is 1 and w where it is 0."""

    def generate(context, builder, sig, args):
        mask = builder.bitcast(builder.trunc(args[0], ir.IntType(LANES)), _MASK)
        return builder.select(mask, args[1], args[2])

    return _V(types.int64, _V, _V), generate


BYTE = 8
"""Number of bits that are listed at once."""

_PLACES = np.zeros((2**BYTE, BYTE), np.uint8)
"""For every byte the places of its ones, the lowest first, and zeros behind."""
for _byte, _row in enumerate(_PLACES):
    _found = [k for k in range(BYTE) if _byte >> k & 1]
    _row[: len(_found)] = _found


@intrinsic
def _store_places(typing, to, at, table, byte, first):
    """Store ``first`` + the 8 numbers in row ``byte`` of the table at ``to[at:]``.

    ``to`` is an array of int32.
    """

    def generate(context, builder, sig, args):
        # A row of the table: 8 numbers of 8 bits, widened to 32 bits.
        _, _, table, byte, first = args
        narrow = ir.VectorType(ir.IntType(8), BYTE)
        wide = ir.VectorType(_INT, BYTE)
        row = builder.mul(byte, ir.Constant(byte.type, BYTE))
        source = context.make_array(sig.args[2])(context, builder, table).data
        source = builder.bitcast(builder.gep(source, [row]), narrow.as_pointer())
        places = builder.zext(builder.load(source, align=1), wide)

        # ``first`` in every lane, added to them.
        empty = ir.Constant(wide, ir.Undefined)
        start = builder.insert_element(empty, builder.trunc(first, _INT), ir.Constant(_INT, 0))
        start = builder.shuffle_vector(start, empty, ir.Constant(wide, [0] * BYTE))
        place = builder.bitcast(_place(context, builder, sig, args), wide.as_pointer())
        builder.store(builder.add(places, start), place, align=4)
        return context.get_dummy_value()

    return types.void(to, types.intp, table, types.int64, types.int64), generate


@intrinsic
def _ones(typing, bits):
    """Return how many bits are 1."""

    def generate(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.int64(types.int64), generate


@kernel
def list_ones(bits, first, ints, at):
    """List ``first`` + the place of every 1 of 16 bits at ``ints[at:]``.

    Returns where the list ends. There is no branch, which would be mispredicted at every other
    unit. Instead up to ``SPILLED`` places behind the list get meaningless numbers.
    """
    # All 8 numbers of a row of the table are stored, but the list grows only by those that are
    # places of ones. The next store overwrites the rest.
    for half in range(0, LANES, BYTE):
        byte = bits >> half & (2**BYTE - 1)
        _store_places(ints, at, _PLACES, byte, first + half)
        at += _ones(byte)
    return at


SPILLED = BYTE
"""Number of places behind a list that ``list_ones`` may write to."""


@intrinsic
def total(typing, v):
    """Return the sum of the lanes, a float."""

    def generate(context, builder, sig, args):
        return _halves(builder, args[0], builder.fadd)

    return types.float32(_V), generate


@intrinsic
def highest(typing, v):
    """Return the largest of the lanes, a float."""

    def generate(context, builder, sig, args):
        def larger(v, w):
            return builder.select(builder.fcmp_ordered("<", v, w), w, v)

        return _halves(builder, args[0], larger)

    return types.float32(_V), generate


@intrinsic
def product(typing, v):
    """Return the product of the lanes as a float64, whose range goes up to 2^1023."""

    def generate(context, builder, sig, args):
        return _halves(builder, builder.fpext(args[0], _WIDE_DOUBLE), builder.fmul)

    return types.float64(_V), generate


def _halves(builder, v, operation: Callable):
    """Fold a vector to one number: combine its upper half with its lower one, and so on."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        empty = ir.Constant(v.type, ir.Undefined)
        picked = ir.VectorType(_INT, lanes)
        low = builder.shuffle_vector(v, empty, ir.Constant(picked, list(range(lanes))))
        high = builder.shuffle_vector(v, empty, ir.Constant(picked, list(range(lanes, 2 * lanes))))
        v = operation(low, high)
    return builder.extract_element(v, ir.Constant(_INT, 0))


LOWEST = -87.0
"""Below it e^x is set to 0: no smaller exponential is a normal float32."""


@intrinsic
def exp_minus_abs(typing, v):
    """Return e^-|v|, with a relative error below 1.2e-7; 0 from |v| = 87 on.

    With -|v| = k log 2 + f and a whole k, e^-|v| = 2^k e^f. A polynomial gives e^f (Cephes, expf),
    and k goes into the bits of the exponent.
    """

    def generate(context, builder, sig, args):
        # Below LOWEST the exponent would leave its range: compute e^LOWEST there, and replace it by
        # 0 at the end.
        x = builder.fneg(_call(builder, "fabs", args[0]))
        in_range = builder.fcmp_ordered(">", x, _all(LOWEST))
        x = builder.select(in_range, x, _all(LOWEST))

        # k is the whole number nearest to x / log 2, and f the rest. log 2 is subtracted in two
        # parts so that no digits are lost.
        magic = _all(12582912.0)  # 1.5 x 2^23: what is added to it loses its fraction
        shifted = _fma(builder, x, _all(1.44269504088896341), magic)
        whole = builder.fsub(shifted, magic)
        f = _fma(builder, whole, _all(-0.693359375), x)
        f = _fma(builder, whole, _all(2.12194440e-4), f)

        # e^f = 1 + f + f^2 P(f) by a polynomial P, then times 2^k. The lowest bits of ``shifted``
        # are those of k, so (k + 127) << 23 is the float 2^k.
        coefficients = (
            1.9875691500e-4,
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            0.5,
        )
        value = _polynomial(builder, f, coefficients)
        value = _fma(builder, value, builder.fmul(f, f), builder.fadd(f, _all(1.0)))
        exponent = builder.shl(
            builder.add(builder.bitcast(shifted, _WIDE_INT), _ints(127)), _ints(23)
        )
        value = builder.fmul(value, builder.bitcast(exponent, _WIDE))
        return builder.select(in_range, value, _all(0.0))

    return _V(_V), generate


@intrinsic
def log(typing, v):
    """Return the natural logarithm of normal positive floats.

    The absolute error is below 1e-7 or two units in the last place.
    """

    def generate(context, builder, sig, args):
        # v = m 2^k with m from sqrt(1/2) to sqrt(2): 0x3f3504f3 is sqrt(1/2). The exponent begins
        # at bit 23, so the shift by 23 gives k, and k << 23 taken from the bits divides by 2^k.
        bits = builder.bitcast(args[0], _WIDE_INT)
        moved = builder.sub(bits, _ints(0x3F3504F3))
        k = builder.ashr(moved, _ints(23))
        m = builder.bitcast(builder.sub(bits, builder.shl(k, _ints(23))), _WIDE)
        k = builder.sitofp(k, _WIDE)
        x = builder.fsub(m, _all(1.0))

        # log m = x - x^2 / 2 + x^3 P(x) with x = m - 1 and a polynomial P (Cephes, logf), plus
        # k log 2 in two parts. The small terms are added first, so that they lose no digits.
        coefficients = (
            *(
                7.0376836292e-2,
                -1.1514610310e-1,
                1.1676998740e-1,
                -1.2420140846e-1,
                1.4249322787e-1,
            ),
            *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
        )
        square = builder.fmul(x, x)
        value = builder.fmul(builder.fmul(_polynomial(builder, x, coefficients), x), square)
        value = _fma(builder, k, _all(-2.12194440e-4), value)
        value = _fma(builder, square, _all(-0.5), value)
        return _fma(builder, k, _all(0.693359375), builder.fadd(x, value))

    return _V(_V), generate
