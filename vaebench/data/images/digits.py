"""Handwritten digits, 8x8, that come with scikit-learn: nothing to download, small enough for tests and first steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.loader import BinaryLoader
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SEED = 1998
"""Of the permutation that splits the cases."""


class Digits(BinaryLoader):
    """The optical digits of Alpaydin & Kaynak (1998) as scikit-learn has them: 1,200/297/300 x 64.

    Grey levels 0..16, binarized at half intensity (8 and above is 1), put in a fixed random order.
    """

    name = "digits"
    shape = (8, 8)
    rows: ClassVar[dict[str, int]] = {"train": 1_200, "valid": 297, "test": 300}
    raw_sha256 = "f4196bc3555039c2e854165db83844ec65b8f9ec65a8885feb758b9d8e4d89c4"

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np
        from sklearn.datasets import load_digits

        from vaebench.data.splits import array_hash, random_order

        grey = load_digits().data.astype(np.uint8)
        found = array_hash(grey)
        if found != self.raw_sha256:
            raise DataError(f"scikit-learn's digits are altered: expected sha256 {self.raw_sha256}, found {found}")
        cases = (grey >= 8).astype(np.uint8)[random_order(len(grey), np.random.SeedSequence(SEED))]
        return {"train": cases[:1200], "valid": cases[1200:1497], "test": cases[1497:]}
