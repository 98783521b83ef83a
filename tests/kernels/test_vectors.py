"""The element-by-element functions of the kernels against those of numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import LANES, exp_minus_abs, load, load_first, log, product, store, total


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


def test_the_exponential_of_minus_the_size():
    x = np.linspace(-86.9, 86.9, 160_000, dtype=np.float32)
    found = x.copy()
    each_exp(found)
    exact = np.exp(-np.abs(x.astype(np.float64)))
    assert np.max(np.abs(found / exact - 1)) < 1.2e-7


def test_the_exponential_ends_in_zero():
    x = np.full(16, 87.5, dtype=np.float32)
    x[:4] = [1e30, -1e30, np.inf, 0.0]
    each_exp(x)
    assert x[3] == 1
    assert np.count_nonzero(x) == 1


def test_the_logarithm():
    x = np.concatenate([np.geomspace(1e-37, 1e37, 80_000), np.linspace(0.4, 2.0, 80_000)]).astype(np.float32)
    found = x.copy()
    each_log(found)
    exact = np.log(x.astype(np.float64))
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1)) < 1.2e-7


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_part_of_a_vector_is_read_and_no_more(count):
    x = np.arange(1, LANES + 1, dtype=np.float32)
    found, _ = folded(x, count)
    assert found == x[:count].sum()


def test_a_product_beyond_float32():
    x = np.full(LANES, 2.0**60, dtype=np.float32)
    assert folded(x, LANES)[1] == 2.0**960
