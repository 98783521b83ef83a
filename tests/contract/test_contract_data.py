"""What every data set must keep: hashes, splits without a common case, held-out
cases by their seed alone.

Data sets that come with a library or are made here are loaded. Of the others the canonical arrays,
which would come from files, are random cases of the right kind.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from vaebench import data
from vaebench.data import DATA
from vaebench.data.counts.corpus import CountsLoader
from vaebench.data.counts.sparse import Documents, to_arrays
from vaebench.data.images.omniglot import Chardata
from vaebench.data.images.own import OwnImages
from vaebench.data.kinds import Kind
from vaebench.data.loader import BinaryLoader, IntensityLoader
from vaebench.data.splits import array_hash
from vaebench.data.text.corpus import TextLoader
from vaebench.errors import UserError

ROWS = {"train": 60, "valid": 20, "test": 30}
PARTS = ("train", "valid", "test")

DOCUMENTS = [name for name, cls in DATA.items() if issubclass(cls, TextLoader)]
VECTORS = [name for name in DATA if name not in DOCUMENTS]
"""Images, and documents as counts."""


def made(cls):
    """Canonical arrays of random examples, no two alike."""
    rng = np.random.default_rng(0)
    if issubclass(cls, CountsLoader):
        tokens = {part: rng.integers(0, 40, (n, 50)) for part, n in ROWS.items()}
        parts = {
            part: Documents.of_tokens(t.ravel(), np.arange(len(t) + 1) * 50)
            for part, t in tokens.items()
        }
        return to_arrays(parts, tuple(f"w{i}" for i in range(40)))

    d = math.prod(cls.shape)
    if cls is OwnImages:
        return {part: rng.integers(0, 256, (n, 6, 5), dtype=np.uint8) for part, n in ROWS.items()}
    bits = {part: rng.integers(0, 2, (n, d), dtype=np.uint8) for part, n in ROWS.items()}
    if issubclass(cls, BinaryLoader):
        return bits

    if issubclass(cls, IntensityLoader):
        return {
            part: rng.integers(0, cls.top + 1, (n, d), dtype=np.uint8) for part, n in ROWS.items()
        }

    # Grey images for training, binary ones for validation and test.
    if issubclass(cls, Chardata):
        grey = {part: rng.random((n, d), dtype=np.float32) for part, n in ROWS.items()}
    else:
        grey = {part: rng.integers(0, 256, (n, d), dtype=np.uint8) for part, n in ROWS.items()}

    return {**bits, "train": grey["train"], "valid_grey": grey["valid"]}


def splits_of(name, held_out=None, seed=0):
    cls = DATA[name]
    arrays = made(cls)
    # Held out of the training images if no others are named.
    if cls is OwnImages and held_out is not None:
        arrays["train"] = np.concatenate([arrays["train"], arrays.pop("valid")])
    elif not cls.sources and not cls.asks:
        return data.load({"name": name, "held_out": held_out, "held_out_seed": seed})

    return cls().splits(arrays, held_out, seed)


def rows(*arrays):
    """The examples as a sorted list, each as its bytes."""
    return sorted(row.tobytes() for array in arrays for row in np.ascontiguousarray(array))


@pytest.mark.parametrize("name", VECTORS)
def test_what_the_splits_of_vectors_say_of_themselves(name):
    splits = splits_of(name)
    assert splits.name == name

    for part in PARTS:
        examples = getattr(splits, part)
        assert examples.shape[1] == math.prod(splits.shape) == len(splits.mean)
        assert splits.hashes[part] == array_hash(examples)

        # Only the training images of grey data are grey.
        grey = splits.kind is Kind.GREY and part == "train"

        if splits.kind is Kind.COUNTS:
            assert examples.min() >= 0
            assert examples.sum(1).min() >= 1
        else:
            assert 0 <= examples.min() <= examples.max() <= (255 if grey else 1)

    top = 255 if splits.kind is Kind.GREY else 1

    np.testing.assert_allclose(splits.mean, splits.train.mean(0, dtype=np.float64) / top, atol=1e-6)
    assert splits_of(name).hash == splits.hash


@pytest.mark.parametrize("name", [n for n in VECTORS if n != "blank"])
def test_held_out_cases_are_those_of_their_seed_and_no_others(name):
    without_held_out = splits_of(name)
    held_out = splits_of(name, 7)
    same_seed = splits_of(name, 7)
    other_seed = splits_of(name, 7, seed=1)

    assert len(held_out.valid) == 7
    assert len(held_out.train) + 7 == len(without_held_out.train) + len(without_held_out.valid)
    assert held_out.hash == same_seed.hash
    assert held_out.hashes["valid"] != other_seed.hashes["valid"]
    assert held_out.hashes["test"] == other_seed.hashes["test"] == without_held_out.hashes["test"]

    for impossible in (0, len(without_held_out.train) + len(without_held_out.valid)):
        with pytest.raises(UserError, match=r"^data\.held_out="):
            splits_of(name, impossible)


@pytest.mark.parametrize("name", [n for n in VECTORS if n != "blank"])
def test_held_out_cases_are_not_trained_on(name):
    """Training and held-out cases together are the pool, each case once."""
    without_held_out = splits_of(name)
    held_out = splits_of(name, 7)
    if without_held_out.kind is not Kind.GREY:
        assert rows(held_out.train, held_out.valid) == rows(
            without_held_out.train, without_held_out.valid
        )
        return

    # Training examples are grey and held-out ones made binary, so the two cannot be compared.
    # But seven examples of the grey pool must be missing from the training set.
    arrays = made(DATA[name])
    # Intensities of float32 are scaled to 255 first, as the splits have them.
    scale = np.float32(255) if arrays["train"].dtype == np.float32 else np.uint8(1)
    pool = rows(arrays["train"] * scale, arrays.get("valid_grey", arrays["valid"]) * scale)

    assert len(pool) == len(set(pool))
    assert set(rows(held_out.train)) < set(pool)
    assert len(held_out.train) == len(pool) - 7


@pytest.mark.parametrize("name", [n for n in DOCUMENTS if not DATA[n].sources and not DATA[n].asks])
def test_what_the_splits_of_documents_say_of_themselves(name):
    splits = data.load({"name": name})
    assert splits.tokens

    for part in PARTS:
        documents = getattr(splits, part)
        assert splits.hashes[part] == array_hash(documents)

        # Each begins with <s> (1) and has one </s> (2).
        assert (documents[:, 0] == 1).all()
        assert ((documents == 2).sum(1) == 1).all()
        assert 0 <= documents.min() <= documents.max() < len(splits.vocabulary)

    assert len(splits.mean) == len(splits.vocabulary)
    assert splits.mean.sum() == pytest.approx(1, abs=1e-5)
    assert data.load({"name": name}).hash == splits.hash
    with pytest.raises(UserError, match=r"^data\.held_out=7"):
        data.load({"name": name, "held_out": 7})
