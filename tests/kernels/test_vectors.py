"""The element-by-element functions of the kernels against those of numpy in float64."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    SPILLED,
    exp_minus_abs,
    list_ones,
    load,
    load_first,
    load_row,
    log,
    product,
    read,
    sqrt,
    store,
    store_first,
    store_row,
    total,
    write,
)


@kernel
def each_exp(a):
    for c in range(0, len(a), LANES):
        store(a, c, exp_minus_abs(load(a, c)))


@kernel
def each_log(a):
    for c in range(0, len(a), LANES):
        store(a, c, log(load(a, c)))


@kernel
def folded(a, count):
    v = load_first(a, 0, count)
    return total(v), product(load(a, 0))


@kernel
def each_root(a):
    for c in range(0, len(a), LANES):
        store_row(a, c, sqrt(load_row(a, c, len(a) - c)), len(a) - c)


@kernel
def copied(a, out, count):
    store_first(out, 1, load(a, 0), count)


@kernel
def rewritten(a, out):
    for c in range(0, len(a), LANES):
        write(out, c, read(a, c))


@kernel
def listed(bits, out):
    return list_ones(bits, 100, out, 3)


def test_ones_are_listed_and_no_more_is_written_than_said():
    for bits in [*range(2**8), *range(0, 2**LANES, 2**8 - 1)]:
        ones = [100 + k for k in range(LANES) if bits >> k & 1]
        # The list begins at 3; up to SPILLED places behind its end may get anything.
        out = np.full(3 + LANES + SPILLED, -1, np.int32)
        end = listed(bits, out)

        assert out[3:end].tolist() == ones, bits
        assert (out[:3] == -1).all()
        assert (out[end + SPILLED :] == -1).all()


def test_the_exponential_of_minus_the_size():
    x = np.linspace(-86.9, 86.9, 160_000, dtype=np.float32)
    by_kernel = x.copy()
    each_exp(by_kernel)
    exact = np.exp(-np.abs(x.astype(np.float64)))

    # One unit in the last place: 2^-23 = 1.19e-7.
    assert np.max(np.abs(by_kernel / exact - 1)) < 1.2e-7


def test_the_exponential_ends_in_zero():
    # The least normal float32 is e^-87.3.
    x = np.full(16, 87.5, dtype=np.float32)
    x[:4] = [1e30, -1e30, np.inf, 0.0]
    each_exp(x)

    assert x[3] == 1
    assert np.count_nonzero(x) == 1


def test_the_logarithm():
    x = np.concatenate([np.geomspace(1e-37, 1e37, 80_000), np.linspace(0.4, 2.0, 80_000)]).astype(
        np.float32
    )
    by_kernel = x.copy()
    each_log(by_kernel)
    exact = np.log(x.astype(np.float64))

    # One unit in the last place; of 1, if the logarithm is smaller: near log 1 = 0 only the
    # absolute error is small.

    assert np.max(np.abs(by_kernel - exact) / np.maximum(np.abs(exact), 1)) < 1.2e-7


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_the_lanes_behind_a_part_of_a_vector_are_zeros(count):
    """Even if the memory there has NaN."""
    x = np.arange(1, LANES + 1, dtype=np.float32)
    x[count:] = np.nan
    sum_of_part, _ = folded(x, count)

    assert sum_of_part == x[:count].sum()


AT_THE_END_OF_MEMORY = """
import ctypes
import mmap
import numpy as np
from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import load_first, store_first, total

@kernel
def again(a, count):
    v = load_first(a, 0, count)
    store_first(a, 0, v, count)
    return total(v)

# Two pages, of which the second can be neither read nor written.
memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
numbers = np.frombuffer(memory, np.float32)
page = len(numbers) // 2
numbers[:page] = np.arange(page)
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
assert protect(numbers.ctypes.data + mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0

for count in (0, 1, 7, 15, 16):
    assert again(numbers[page - count :], count) == numbers[page - count : page].sum()
"""
"""A program that loads and stores the last floats before a page that must not be touched."""


def test_part_of_a_vector_is_read_and_no_more():
    """A float too many, read or written, would kill the process."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END_OF_MEMORY], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_part_of_a_vector_is_written_and_no_more(count):
    x = np.arange(1, LANES + 1, dtype=np.float32)
    out = np.zeros(LANES + 2, dtype=np.float32)
    copied(x, out, count)

    assert out.tolist() == [0.0, *x[:count], *[0.0] * (LANES + 1 - count)]


@pytest.mark.parametrize("size", [1, 16, 17, 45])
def test_the_square_root_of_rows_of_any_length(size):
    x = np.linspace(0, 3, size, dtype=np.float32)
    # The vector behind the row must stay as it is; a root would make 2 of its fours.
    memory = np.concatenate([x, np.full(LANES, 4, np.float32)])
    each_root(memory[:size])

    assert np.array_equal(memory[:size], np.sqrt(x))
    assert (memory[size:] == 4).all()


def test_a_product_beyond_float32():
    # float32 ends at 2^128.
    x = np.full(LANES, 2.0**60, dtype=np.float32)
    assert folded(x, LANES)[1] == 2.0**960


def test_bfloat16_is_rounded_as_pytorch_rounds():
    """Ties to even, infinities, NaN, zeros of both signs, numbers that round up to
    the next power of two."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4 * LANES, generator=generator)
    special = [
        0.0,
        -0.0,
        float("inf"),
        -float("inf"),
        float("nan"),
        1 + 2**-8,
        1 + 3 * 2**-8,
        2 - 2**-10,
        3e38,
        1e-40,
    ]
    x[: len(special)] = torch.tensor(special)

    # NaN of all ones but the sign, and of all ones: rounded as whole numbers they would end as
    # zeros. They are put in as whole numbers, to be these very NaN.
    x.view(torch.int32)[len(special) : len(special) + 2] = torch.tensor([0x7FFFFFFF, -1]).int()
    out = torch.empty(len(x), dtype=torch.bfloat16)
    rewritten(x.numpy(), out.view(torch.int16).numpy())
    by_torch = x.bfloat16()

    assert torch.equal(out.isnan(), by_torch.isnan())

    # Bits are compared, because 0.0 == -0.0; a NaN may have other bits here than in PyTorch.
    numbers = ~by_torch.isnan()
    assert torch.equal(out[numbers].view(torch.int16), by_torch[numbers].view(torch.int16))

    # And back from bfloat16 to float32, which is exact.
    back = torch.empty(len(x))
    rewritten(by_torch.view(torch.int16).numpy(), back.numpy())

    assert torch.equal(back[numbers], by_torch[numbers].float())
