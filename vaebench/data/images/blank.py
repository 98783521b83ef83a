"""Blank examples instead of data, for models that fit a known distribution.

Each example is a place for a Markov chain.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.loader import BinaryLoader

if TYPE_CHECKING:
    import numpy as np

CASES = 100
"""Examples in each split; Figure 5 of DVAE## does not say how many chains it ran."""


class Blank(BinaryLoader):
    """100/100/100 examples of a single pixel that is 0."""

    name = "blank"
    shape = (1, 1)
    empty = True
    rows: ClassVar[dict[str, int]] = dict.fromkeys(("train", "valid", "test"), CASES)

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        return {split: np.zeros((CASES, 1), dtype=np.uint8) for split in ("train", "valid", "test")}
