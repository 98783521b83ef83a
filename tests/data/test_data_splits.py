"""Splits: which examples are held out, how grey examples are binarized, and what hashes see."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from vaebench.data import DATA, check, load
from vaebench.data.images.binarize import binarize_once
from vaebench.data.images.digits import RAW_SHA256, Digits
from vaebench.data.kinds import Kind
from vaebench.data.splits import array_hash, held_out_mask, make_splits, with_cases
from vaebench.errors import DataError, UserError


@pytest.fixture(params=["static", "dynamic"])
def tiny(request):
    """(loader, canonical arrays, pool as the files have it), of a binary and of a grey data set."""
    files = request.getfixturevalue(f"tiny_{request.param}")
    loader = files.cls()
    arrays = loader.arrays({key: files.file(key) for key in loader.sources})
    # A grey loader keeps the grey levels of its validation examples.
    pool = np.concatenate([arrays["train"], arrays.get("valid_grey", arrays["valid"])])
    return loader, arrays, pool


def test_own_validation_split(tiny):
    loader, arrays, _ = tiny
    splits = loader.splits(arrays, None, 0)

    for key in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(splits, key), arrays[key])
        assert splits.hashes[key] == array_hash(arrays[key])

    assert splits.shape == (2, 3)
    assert set(np.unique(splits.valid)) | set(np.unique(splits.test)) == {0, 1}


@pytest.mark.parametrize("n", [1, 4, 13])
def test_held_out_parts_the_pool(tiny, n):
    loader, arrays, pool = tiny
    splits = loader.splits(arrays, n, 7)
    held = held_out_mask(len(pool), n, 7)

    assert len(splits.valid) == held.sum() == n
    np.testing.assert_array_equal(splits.train, pool[~held])  # the rest, in file order

    # Held-out examples of a grey data set are binarized.
    if splits.kind is Kind.BITS:
        np.testing.assert_array_equal(splits.valid, pool[held])

    np.testing.assert_array_equal(splits.test, arrays["test"])
    assert splits.hashes["test"] == loader.splits(arrays, None, 0).hashes["test"]


def test_held_out_is_a_function_of_its_seed(tiny):
    loader, arrays, _ = tiny
    first, again, changed = (loader.splits(arrays, 5, seed) for seed in (1, 1, 2))

    assert first.hash == again.hash
    assert first.hashes == again.hashes
    assert first.hash != changed.hash
    assert first.hashes["valid"] != changed.hashes["valid"]


def test_held_out_cases_golden():
    # The same examples on every machine and with every release of NumPy.
    assert np.flatnonzero(held_out_mask(60_000, 5, 0)).tolist() == [
        16026,
        20554,
        25556,
        53924,
        57691,
    ]


@pytest.mark.parametrize("n", [0, -1, 10, 11, 2.0, "3", True])
def test_bad_held_out_is_refused(n):
    with pytest.raises(UserError, match=r"data\.held_out=.*from 1 to 9"):
        held_out_mask(10, n, 0)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "x", False])
def test_bad_held_out_seed_is_refused(seed):
    with pytest.raises(UserError, match=r"data\.held_out_seed="):
        held_out_mask(10, 3, seed)


def test_evaluation_cases_do_not_depend_on_which_others_are_held_out(tiny_dynamic):
    loader = tiny_dynamic.cls()
    arrays = loader.arrays({key: tiny_dynamic.file(key) for key in loader.sources})
    pool = tiny_dynamic.content["train"].reshape(15, -1)
    whole = binarize_once(pool, loader.TRAIN_STREAM, np.arange(15))

    np.testing.assert_array_equal(arrays["valid"], whole[10:])

    test = tiny_dynamic.content["test"].reshape(4, -1)
    np.testing.assert_array_equal(
        arrays["test"], binarize_once(test, loader.TEST_STREAM, np.arange(4))
    )
    assert loader.TEST_STREAM != loader.TRAIN_STREAM

    for n, seed in ((1, 0), (5, 1), (14, 2)):
        held = held_out_mask(15, n, seed)
        np.testing.assert_array_equal(loader.splits(arrays, n, seed).valid, whole[held])


def test_grey_splits_keep_grey_training_cases(tiny_dynamic):
    loader = tiny_dynamic.cls()
    splits = loader.splits(
        loader.arrays({key: tiny_dynamic.file(key) for key in loader.sources}), None, 0
    )
    grey = tiny_dynamic.content["train"].reshape(15, -1)[:10]

    assert splits.kind is Kind.GREY
    np.testing.assert_array_equal(splits.train, grey)
    assert splits.mean.dtype == np.float32
    np.testing.assert_allclose(splits.mean, grey.mean(0) / 255, rtol=1e-6)


def test_binarization_extremes_frequencies_and_streams():
    grey = np.repeat(np.array([[0, 64, 191, 255]], dtype=np.uint8), 20_000, axis=0)

    bits = binarize_once(grey, 0, np.arange(len(grey)))

    assert bits.dtype == np.uint8
    assert not bits[:, 0].any()
    assert bits[:, 3].all()

    # Five standard errors of two frequencies: by chance once in 900,000 seeds.
    p = np.array([64, 191]) / 255
    assert (abs(bits[:, 1:3].mean(0) - p) < 5 * np.sqrt(p * (1 - p) / len(grey))).all()
    assert (bits != binarize_once(grey, 1, np.arange(len(grey)))).any()

    # Places in several blocks of noise.
    few = np.array([3, 999, 1000, 12_345])
    np.testing.assert_array_equal(binarize_once(grey[few], 0, few), bits[few])


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_black_and_white_pixels_do_not_depend_on_the_noise(monkeypatch, u):
    # The least and the largest number that NumPy draws.
    class Extreme:
        def __init__(self, _):
            pass

        def random(self, shape):
            return np.full(shape, u)

    monkeypatch.setattr(np.random, "Generator", Extreme)

    assert binarize_once(np.array([[0, 255]], dtype=np.uint8), 0, np.arange(1)).tolist() == [[0, 1]]


def test_binarization_golden():
    grey = np.full((3, 8), 128, dtype=np.uint8)
    assert np.packbits(binarize_once(grey, 0, np.arange(3))).tolist() == [12, 103, 81]


def test_hash_sees_dtype_shape_and_bytes():
    a = np.arange(6, dtype=np.uint8)
    alike = [a, a.copy(), np.arange(12, dtype=np.uint8)[::2] // 2]
    assert len({array_hash(x) for x in alike}) == 1

    different = [
        a,
        a.reshape(2, 3),
        a.reshape(3, 2),
        a.astype(np.int8),
        a.astype(np.uint16),
        a + 1,
        a[:5],
    ]

    assert len({array_hash(x) for x in different}) == len(different)
    # The byte order does not count.
    assert array_hash(a.astype("<u2")) == array_hash(a.astype(">u2"))
    # Pinned: the protocols of stored results hold such hashes.
    assert array_hash(a) == hashlib.sha256(b"|u1 (6,)\n" + a.tobytes()).hexdigest()


def test_hash_of_splits_sees_every_split_and_their_order():
    a, b, c = (np.full((2, 3), v, dtype=np.uint8) for v in (0, 1, 0))
    c[0, 0] = 1

    hashes = {
        make_splits("x", *parts, (3,)).hash
        for parts in ((a, b, c), (a, c, b), (b, a, c), (a, b, b))
    }

    assert len(hashes) == 4


def test_splits_cannot_be_reassigned():
    a = np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_splits("x", a, a, a, (3,)).train = a


def test_digits():
    loader = Digits()
    splits = loader.splits(loader.arrays({}), None, 0)

    assert [s.shape for s in (splits.train, splits.valid, splits.test)] == [
        (1200, 64),
        (297, 64),
        (300, 64),
    ]
    assert splits.shape == (8, 8)
    assert splits.kind is Kind.BITS

    everything = np.concatenate([splits.train, splits.valid, splits.test])
    assert everything.dtype == np.uint8
    assert set(np.unique(everything)) == {0, 1}
    np.testing.assert_allclose(splits.mean, splits.train.mean(0), rtol=1e-6)
    assert (
        splits.hashes["test"] == "35d86403398422e7067ea483c3c7db20453714ddaea2af372866541cf6bf3914"
    )

    assert loader.splits(loader.arrays({}), 200, 3).hashes["test"] == splits.hashes["test"]
    with pytest.raises(UserError, match="from 1 to 1496"):
        loader.splits(loader.arrays({}), 1497, 0)


def test_altered_digits_are_refused(monkeypatch):
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    bunch.data[0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: bunch)

    with pytest.raises(DataError, match=f"expected sha256 {RAW_SHA256}, found "):
        Digits().arrays({})


def test_digits_are_every_case_of_scikit_learn():
    from sklearn.datasets import load_digits

    arrays = Digits().arrays({})
    bits = np.concatenate([arrays[k] for k in ("train", "valid", "test")])
    grey = load_digits().data

    # Each example once, compared as bytes.
    assert sorted(map(bytes, bits)) == sorted(map(bytes, (grey >= 8).astype(np.uint8)))
    # In another order.
    assert (bits != (grey >= 8)).any()


@pytest.mark.parametrize("name", ["digits", "blank", "toy_text"])
def test_sizes_are_known_without_reading(name):
    loader = DATA[name]()
    splits = load({"name": name, "held_out": None})

    assert loader.sizes == {
        split: len(getattr(splits, split)) for split in ("train", "valid", "test")
    }
    assert loader.kind is splits.kind
    assert loader.entries == len(splits.vocabulary)


def test_sizes_of_files_are_known_without_reading_them(tiny):
    loader, arrays, _ = tiny
    assert loader.sizes == {split: len(arrays[split]) for split in ("train", "valid", "test")}


@pytest.mark.parametrize(
    ("changes", "cases"),
    [
        ({"held_out": 1497}, None),
        ({"held_out": 0}, None),
        ({"held_out": 497}, 1001),
        ({}, 1201),
        ({"name": "toy_text", "held_out": 5}, None),
        ({"name": "toy_text"}, 601),
        ({"name": "toy_text", "entries": 38}, None),
        ({"name": "toy_text", "entries": 5}, None),
        ({"entries": 5}, None),
    ],
    ids=str,
)
def test_what_is_refused_beforehand_is_refused_with_the_data_in_the_same_words(changes, cases):
    config = {"name": "digits", "held_out": None, **changes}

    with pytest.raises(UserError) as before:
        check(config, cases)
    with pytest.raises(UserError) as after:
        with_cases(load(config), cases)
    assert str(before.value) == str(after.value)


@pytest.mark.parametrize(
    ("changes", "cases"), [({"held_out": 1496}, 1), ({"held_out": 497}, 1000), ({}, 1200)], ids=str
)
def test_what_is_there_is_not_refused_beforehand(changes, cases):
    config = {"name": "digits", "held_out": None, **changes}
    check(config, cases)
    with_cases(load(config), cases)


def test_hashes_of_pictures_are_as_they_were():
    a = np.zeros((2, 3), dtype=np.uint8)
    splits = make_splits("x", a, a, a, (3,))
    lines = "\n".join(f"{k}:{array_hash(a)}" for k in ("train", "valid", "test"))

    assert splits.hash == hashlib.sha256(lines.encode()).hexdigest()
    assert splits.vocabulary == ()
