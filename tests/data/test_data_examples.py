"""Examples as a model sees them: bits, grey levels made bits, documents as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench.data import examples
from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits, array_hash


@pytest.mark.parametrize("kind", [Kind.BITS, Kind.REAL, Kind.LEVELS, Kind.COUNTS])
def test_examples_become_floats_and_keep_their_values(kind):
    rows = torch.tensor([[0, 1, 7], [255, 1, 0]], dtype=torch.uint8)
    x = examples.prepare(kind, rows)

    assert x.dtype == torch.float32
    assert x.tolist() == rows.tolist()


def test_documents_stay_as_they_are():
    rows = torch.tensor([[1, 5, 2, 0]], dtype=torch.int16)
    assert examples.prepare(Kind.TOKENS, rows) is rows


def test_a_grey_pixel_is_one_where_the_noise_is_below_it():
    # 51 / 255 is 0.2.
    rows = torch.tensor([[0, 51, 51, 255]], dtype=torch.uint8)
    noise = torch.tensor([[0.0, 0.19, 0.21, 0.99]])
    assert examples.prepare(Kind.GREY, rows, noise).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_every_grey_level_is_its_share_of_255():
    """A pixel turns between noise half a level below its share and half a level above."""
    levels = torch.arange(256, dtype=torch.uint8)
    below = (levels.double() - 0.5) / 255
    above = (levels.double() + 0.5) / 255

    assert examples.binarized(levels[1:], below[1:]).all()
    assert not examples.binarized(levels, above).any()

    largest = torch.tensor([1 - 2.0**-24])
    assert examples.binarized(levels[-1:], largest).tolist() == [True]  # white is always on


def grey(dtype, n=40):
    """Grey training examples that grow lighter from one row to the next."""
    levels = np.linspace(0, 255, n * 12).reshape(n, 12).astype(dtype)
    bits = np.zeros((3, 12), dtype=np.uint8)
    hashes = {"train": array_hash(levels), "valid": array_hash(bits), "test": array_hash(bits)}
    return Splits("grey", levels, bits, bits, Kind.GREY, levels.mean(0) / 255, hashes, (3, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_training_examples_are_fixed_for_evaluation(dtype):
    """Levels of any dtype, such as those of OMNIGLOT, which are no whole numbers."""
    splits = grey(dtype)
    x = examples.fixed(splits, "train")

    assert x.dtype == np.uint8
    assert set(np.unique(x)) == {0, 1}
    # The ramp has the mean 1/2; its 480 bits have a mean with an error of 0.02.
    assert 0.3 < x.mean() < 0.7
    # The first row is nearly black, the last nearly white.
    assert x[0].mean() < 0.2 < 0.8 < x[-1].mean()

    # The same bits for some examples as for all of them.
    places = np.array([3, 17, 30])
    np.testing.assert_array_equal(examples.fixed(splits, "train", places), x[places])
    np.testing.assert_array_equal(examples.fixed(splits, "test"), splits.test)
