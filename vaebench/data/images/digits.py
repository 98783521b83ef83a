"""Handwritten digits, 8x8, that come with scikit-learn.

Nothing is downloaded, and they are small enough for tests and first steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.loader import BinaryLoader, IntensityLoader
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SEED = 1998
"""Seed of the permutation that splits the examples."""


RAW_SHA256 = "f4196bc3555039c2e854165db83844ec65b8f9ec65a8885feb758b9d8e4d89c4"
"""SHA-256 of the grey levels as scikit-learn has them."""

ROWS = {"train": 1_200, "valid": 297, "test": 300}


def levels() -> dict[str, np.ndarray]:
    """Return the splits as grey levels 0 to 16, (n, 64) uint8, put in a fixed random order."""
    import numpy as np
    from sklearn.datasets import load_digits

    from vaebench.data.splits import array_hash, random_order

    grey = load_digits().data.astype(np.uint8)
    digest = array_hash(grey)
    if digest != RAW_SHA256:
        raise DataError(
            f"scikit-learn's digits are altered: expected sha256 {RAW_SHA256}, found {digest}"
        )
    cases = grey[random_order(len(grey), np.random.SeedSequence(SEED))]
    return {"train": cases[:1200], "valid": cases[1200:1497], "test": cases[1497:]}


class Digits(BinaryLoader):
    """The optical digits of Alpaydin & Kaynak (1998) as scikit-learn has them: 1,200/297/300 x 64.

    Their grey levels 0..16 are binarized at half intensity: 8 and above is 1.
    """

    name = "digits"
    shape = (8, 8)
    rows: ClassVar[dict[str, int]] = ROWS

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        return {split: (grey >= 8).astype(np.uint8) for split, grey in levels().items()}


class DigitsGrey(IntensityLoader):
    """The digits of ``Digits``, in the same order, but grey as they are: level / 16."""

    name = "digits_grey"
    shape = (8, 8)
    rows: ClassVar[dict[str, int]] = ROWS
    top: ClassVar[int] = 16

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        return levels()
