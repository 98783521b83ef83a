"""Words by the kernel are NumPy's, and so is the noise that is made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import kernels
from vaebench.rng import noise

pytest.importorskip("numba")

from vaebench.kernels import sfc


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1])
@pytest.mark.parametrize("count", [1, 1000])
def test_words_are_those_of_numpy(seed, count):
    source = np.random.SFC64(seed)
    for _ in range(2):
        assert np.array_equal(sfc.words(source, count), np.random.SFC64(seed).random_raw(count))


def test_noise_is_the_same_with_and_without_kernels(monkeypatch):
    """The kernel draws the large tensor, if kernels are allowed, and never the small one."""
    counts = []
    words = sfc.words
    monkeypatch.setattr(
        sfc, "words", lambda source, count: (counts.append(count), words(source, count))[1]
    )
    shapes = {"a": ("digits", (3, 700, 31)), "b": ("digits", (2, 5, 7))}
    draws = {}
    for by_kernel in (True, False):
        with kernels.use(by_kernel):
            draws[by_kernel] = noise.fixed(shapes, 3, "eval")

    # A word of 64 bits makes four numbers.
    assert counts == [-(-3 * 700 * 31 // 4)]
    assert draws[True].keys() == {"a", "a.low", "b", "b.low"}
    for name, v in draws[True].items():
        assert torch.equal(v, draws[False][name])
