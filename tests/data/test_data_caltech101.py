"""Caltech-101 Silhouettes: the splits of the file, and pictures that must be binary."""

from __future__ import annotations

import numpy as np
import pytest
from kit.matlab import SHAPE, column_by_column, prepared, tiny

from vaebench.data import Caltech101Silhouettes
from vaebench.data.kinds import Kind
from vaebench.data.splits import held_out_mask
from vaebench.errors import DataError


@pytest.fixture
def outlines() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {
        k: rng.integers(0, 2, (n, *SHAPE), dtype=np.uint8)
        for k, n in (("train", 9), ("valid", 4), ("test", 3))
    }


@pytest.fixture
def caltech(outlines, tmp_path):
    keys = {"train": "train_data", "valid": "val_data", "test": "test_data"}
    content = {keys[k]: column_by_column(v) for k, v in outlines.items()} | {
        # A variable that the loader does not ask for.
        "classnames": np.array(["ketch"], object)
    }
    return tiny(
        Caltech101Silhouettes, tmp_path, "split1", content, rows={"train": 9, "valid": 4, "test": 3}
    )


def test_silhouettes(caltech, outlines, tmp_path):
    loader, arrays = prepared(caltech, tmp_path)
    splits = loader.splits(arrays, None, 0)

    assert splits.kind is Kind.BITS
    for split, pictures in outlines.items():
        assert getattr(splits, split).dtype == np.uint8
        np.testing.assert_array_equal(getattr(splits, split), pictures.reshape(len(pictures), -1))

    # Held out examples come from those for training and validation together, 13 of them.
    held = held_out_mask(13, 3, 2)
    pool = np.concatenate([outlines["train"], outlines["valid"]]).reshape(13, -1)
    np.testing.assert_array_equal(loader.splits(arrays, 3, 2).valid, pool[held])


@pytest.mark.parametrize("value", [2, 0.5, -1])
def test_silhouettes_are_binary(outlines, tmp_path, value):
    keys = zip(("train_data", "val_data", "test_data"), outlines.values(), strict=True)
    # Floats, so that 0.5 fits.
    content = {key: column_by_column(pictures) + 0.0 for key, pictures in keys}
    content["val_data"][1, 2] = value

    cls = tiny(
        Caltech101Silhouettes, tmp_path, "split1", content, rows={"train": 9, "valid": 4, "test": 3}
    )

    with pytest.raises(DataError, match=r"tiny\.mat: val_data has values other than 0 and 1"):
        prepared(cls, tmp_path)

    cls.rows = {"train": 9, "valid": 5, "test": 3}
    with pytest.raises(DataError, match="val_data is 4 x 6, expected 5 x 6"):
        prepared(cls, tmp_path)
