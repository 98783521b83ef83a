"""OMNIGLOT: its splits, how its grey levels become binary, and files of other numbers."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from kit.matlab import SHAPE, changed, column_by_column, prepared, tiny

from vaebench import data
from vaebench.data import Omniglot, OmniglotReconstructed, prepare
from vaebench.data.files.sources import CALTECH101_SILHOUETTES, OMNIGLOT_RECONSTRUCTED, Source
from vaebench.data.images.omniglot import _binarize_in_turn
from vaebench.data.kinds import Kind
from vaebench.data.splits import array_hash, held_out_mask
from vaebench.errors import DataError, UserError

N = 15
VALID = 5
TEST = 4


@pytest.fixture
def grey() -> dict[str, np.ndarray]:
    """Pictures as they look: (n, 2, 3) in [0, 1]. Bytes cannot hold these levels; paper (0) and ink
    (1) are among them."""
    rng = np.random.default_rng(5)
    pictures = {
        k: rng.random((n, *SHAPE)).astype(np.float32) for k, n in (("train", N), ("test", TEST))
    }
    pictures["train"][:, 0, 0] = 0
    pictures["train"][:, 1, 2] = 1

    return pictures


@pytest.fixture
def omniglot(grey, tmp_path):
    content = {
        # As in the real file, an example a column.
        "data": column_by_column(grey["train"]).T,
        "testdata": column_by_column(grey["test"]).T,
        "target": [1],
    }
    return tiny(
        OmniglotReconstructed,
        tmp_path,
        "chardata",
        content,
        rows={"train": N, "test": TEST},
        valid=VALID,
    )


def draws(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """The next numbers of one RandomState(1), a number at a time."""
    noise = np.random.RandomState(1)
    return [np.array([noise.uniform() for _ in range(int(np.prod(s)))]).reshape(s) for s in shapes]


def test_omniglot_splits(omniglot, grey, tmp_path):
    loader, arrays = prepared(omniglot, tmp_path)
    splits = loader.splits(arrays, None, 0)
    train, test = (grey[k].reshape(len(grey[k]), -1) for k in ("train", "test"))

    assert splits.kind is Kind.GREY
    assert (splits.name, splits.shape) == ("tiny", SHAPE)
    assert splits.train.dtype == np.float32
    np.testing.assert_array_equal(splits.train, train[:-VALID] * np.float32(255))
    assert (splits.train.min(), splits.train.max()) == (0, 255)
    assert splits.hashes == {k: array_hash(getattr(splits, k)) for k in ("train", "valid", "test")}

    # First those for validation, then those for the test, from one stream.
    for_valid, for_test = draws((VALID, 6), (TEST, 6))
    assert splits.valid.dtype == splits.test.dtype == np.uint8
    np.testing.assert_array_equal(splits.valid, for_valid < train[-VALID:])
    np.testing.assert_array_equal(splits.test, for_test < test)
    assert splits.mean.dtype == np.float32
    np.testing.assert_allclose(splits.mean, train[:-VALID].mean(0, dtype=np.float64), rtol=1e-6)


def test_evaluation_noise_golden():
    # The stream, which NumPy never changes (NEP 19), begins 0.41702, 0.72032, 0.00011, 0.30233.
    below = np.array([[0.41702, 0.72032, 1.1e-4]])
    above = np.array([[0.30234]])

    assert [x.tolist() for x in _binarize_in_turn(below, above)] == [[[0, 0, 0]], [[1]]]
    assert [x.tolist() for x in _binarize_in_turn(below + 1e-5, above - 1e-5)] == [
        [[1, 1, 1]],
        [[0]],
    ]


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_paper_and_ink_do_not_depend_on_the_noise(monkeypatch, u):
    noise = SimpleNamespace(random_sample=lambda shape: np.full(shape, u))
    monkeypatch.setattr(np.random, "RandomState", lambda seed: noise)
    assert _binarize_in_turn(np.array([[0, 1]], dtype=np.float32))[0].tolist() == [[0, 1]]


def test_omniglot_held_out(omniglot, grey, tmp_path):
    loader, arrays = prepared(omniglot, tmp_path)
    pool = grey["train"].reshape(N, -1)
    for n, seed in ((1, 0), (7, 3)):
        splits = loader.splits(arrays, n, seed)
        held = held_out_mask(N, n, seed)

        np.testing.assert_array_equal(splits.train, pool[~held] * np.float32(255))
        np.testing.assert_array_equal(splits.valid, draws((n, 6))[0] < pool[held])
        # Test examples get the numbers after those of the usual validation examples.
        np.testing.assert_array_equal(splits.test, loader.splits(arrays, None, 0).test)
        np.testing.assert_allclose(splits.mean, pool[~held].mean(0, dtype=np.float64), rtol=1e-6)

    with pytest.raises(UserError, match="from 1 to 14"):
        loader.splits(arrays, N, 0)


def test_omniglot_is_the_same_from_the_prepared_file(omniglot, tmp_path, monkeypatch):
    loader, fresh = prepared(omniglot, tmp_path)

    # The file is not read again.
    monkeypatch.setattr(prepare, "fetch", None)
    _, reread = prepared(omniglot, tmp_path)

    assert {k: v.dtype for k, v in reread.items()} == {k: v.dtype for k, v in fresh.items()}
    for n in (None, 4):
        assert loader.splits(fresh, n, 1).hashes == loader.splits(reread, n, 1).hashes


def test_training_cases_are_binarized_by_their_levels(omniglot, grey, tmp_path):
    """What the training loop does with ``train``: float32 noise, x = 1 where 255 u < level. One of
    the 40 levels strictly between 0 and 1 fails by chance once in 40,000 seeds."""
    import torch

    loader, arrays = prepared(omniglot, tmp_path)
    levels = torch.from_numpy(loader.splits(arrays, None, 0).train)

    n = 20_000
    u = torch.rand(n, *levels.shape, generator=torch.Generator().manual_seed(8))
    frequency = (u * 255.0 < levels).double().mean(0).numpy()
    p = grey["train"][:-VALID].reshape(frequency.shape).astype(np.float64)

    assert (abs(frequency - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()

    # Paper is never 1 and ink always is.
    for extreme in (0.0, 1 - 2**-24):
        x = torch.full_like(levels, extreme) * 255.0 < levels
        assert not x[:, 0].any()
        assert x[:, 5].all()


@pytest.mark.parametrize("value", [-1e-6, 1.001, np.nan])
@pytest.mark.parametrize("key", ["data", "testdata"])
def test_grey_levels_out_of_range_are_refused(tmp_path, key, value):
    content = {"data": np.full((6, N), 0.5), "testdata": np.full((6, TEST), 0.5)}
    content[key][2, 1] = value

    cls = tiny(
        OmniglotReconstructed,
        tmp_path,
        "chardata",
        content,
        rows={"train": N, "test": TEST},
        valid=VALID,
    )

    with pytest.raises(DataError, match=rf"tiny\.mat: {key} has values outside \[0, 1\]"):
        prepared(cls, tmp_path)


def test_another_number_of_omniglot_cases_is_refused(omniglot, tmp_path):
    omniglot.rows["test"] = TEST + 1
    with pytest.raises(DataError, match="testdata is 6 x 4, expected 6 x 5"):
        prepared(omniglot, tmp_path)


def test_a_truncated_or_missing_file_is_one_line(omniglot, tmp_path, monkeypatch):
    monkeypatch.setitem(data.DATA, "tiny", omniglot)
    file = tmp_path / "tiny" / "tiny.mat"
    file.write_bytes(file.read_bytes()[:-40])

    with pytest.raises(DataError) as e:
        data.load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "root")
    for part in (str(file), "truncated or altered", omniglot.sources["chardata"].sha256):
        assert part in str(e.value)
    assert "\n" not in str(e.value)

    file.unlink()
    with pytest.raises(DataError, match=r"tiny/tiny\.mat, name the folder in VAEBENCH_MIRROR"):
        data.load({"name": "tiny"}, root=tmp_path / "root")


def test_sources():
    for (source,) in (OMNIGLOT_RECONSTRUCTED.values(), CALTECH101_SILHOUETTES.values()):
        assert len(bytes.fromhex(source.sha256)) == 32
    assert CALTECH101_SILHOUETTES["split1"].urls

    # The reconstruction comes only from a mirror: what the network offers is the original.
    assert OMNIGLOT_RECONSTRUCTED["chardata"].urls == ()


def test_the_original_is_known_by_its_md5(tmp_path, monkeypatch, grey):
    content = {
        "data": column_by_column(grey["train"]).T,
        "testdata": column_by_column(grey["test"]).T,
    }
    cls = tiny(
        Omniglot, tmp_path, "chardata", content, rows={"train": N, "test": TEST}, valid=VALID
    )

    file = tmp_path / "tiny" / "tiny.mat"
    good = hashlib.md5(file.read_bytes()).hexdigest()
    cls.sources = {"chardata": Source("tiny", "tiny.mat", "", md5=good)}
    monkeypatch.setitem(data.DATA, "tiny", cls)

    assert data.load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "a").kind is Kind.GREY
    assert {c.state for c in data.verify("tiny", mirror=tmp_path, root=tmp_path / "a")} == {"ok"}

    # Another byte, another digest.
    file.write_bytes(changed(file.read_bytes(), 200))
    with pytest.raises(
        DataError,
        match=rf"expected md5 {good}; tried .*found md5 [0-9a-f]{{32}}\)",
    ):
        data.load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "b")

    assert "expected md5" in str(data.verify("tiny", mirror=tmp_path, root=tmp_path / "b")[0])
