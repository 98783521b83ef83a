"""MNIST: in Larochelle's fixed binarization, or as grey levels.

The grey levels are binarized anew at each visit, or taken as they are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.files.sources import BINARIZED_MNIST, MNIST
from vaebench.data.loader import BinaryLoader, GreyLoader, IntensityLoader
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits


class MnistStatic(BinaryLoader):
    """Larochelle's fixed binarization (Salakhutdinov & Murray 2008): 50,000/10,000/10,000 x 784.

    Its examples are not in MNIST's order: never pair them with labels by index.
    """

    name = "mnist_static"
    sources = BINARIZED_MNIST
    shape = (28, 28)
    rows: ClassVar[dict[str, int]] = {"train": 50_000, "valid": 10_000, "test": 10_000}

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        from vaebench.data.files.formats import read_amat

        width = math.prod(self.shape)
        arrays = {split: read_amat(path, width) for split, path in files.items()}
        for split, rows in self.rows.items():
            if len(arrays[split]) != rows:
                raise DataError(f"{files[split]}: {len(arrays[split])} cases, expected {rows}")
        return arrays


class MnistDynamic(GreyLoader):
    """Grey MNIST, binarized anew at each visit: 50,000/10,000/10,000 x 784.

    Training examples stay grey, and the training loop binarizes them at each visit. The last 10,000
    training images are for validation; they and the test images are binarized once, with fixed
    noise.
    """

    name = "mnist_dynamic"
    sources = MNIST
    shape = (28, 28)
    rows: ClassVar[dict[str, int]] = {"train": 60_000, "test": 10_000}
    valid: ClassVar[int] = 10_000

    TRAIN_STREAM = 0
    TEST_STREAM = 1
    """Streams of the evaluation noise, one per file."""

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        from vaebench.data.files.formats import read_idx
        from vaebench.data.images.binarize import binarize_once

        grey = {
            split: read_idx(path, (self.rows[split], *self.shape)).reshape(self.rows[split], -1)
            for split, path in files.items()
        }
        train_count = self.rows["train"] - self.valid
        valid_grey = grey["train"][train_count:]
        return {
            "train": grey["train"][:train_count],
            "valid": binarize_once(
                valid_grey, self.TRAIN_STREAM, np.arange(train_count, self.rows["train"])
            ),
            "test": binarize_once(grey["test"], self.TEST_STREAM, np.arange(self.rows["test"])),
            "valid_grey": valid_grey,  # so that another validation split can be made
        }

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        import numpy as np

        from vaebench.data.images.binarize import binarize_once
        from vaebench.data.splits import held_out_mask, make_splits

        train = arrays["train"]
        valid = arrays["valid"]
        if held_out is not None:
            pool = np.concatenate([train, arrays["valid_grey"]])
            held = held_out_mask(len(pool), held_out, held_out_seed)
            train = pool[~held]
            # The pool is in file order, so a place in it is the place in the file that chooses the
            # noise.
            valid = binarize_once(pool[held], self.TRAIN_STREAM, np.flatnonzero(held))
        return make_splits(self.name, train, valid, arrays["test"], self.shape, self.kind)


class MnistGrey(IntensityLoader):
    """MNIST's pixels as they are, level / 255, in all splits.

    The last 10,000 training images are used for validation.
    """

    name = "mnist_grey"
    sources = MNIST
    shape = (28, 28)
    rows: ClassVar[dict[str, int]] = {"train": 50_000, "valid": 10_000, "test": 10_000}

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        from vaebench.data.files.formats import read_idx

        train_count = self.rows["train"]
        counts = {"train": train_count + self.rows["valid"], "test": self.rows["test"]}
        grey = {
            split: read_idx(path, (counts[split], *self.shape)).reshape(counts[split], -1)
            for split, path in files.items()
        }
        return {
            "train": grey["train"][:train_count],
            "valid": grey["train"][train_count:],
            "test": grey["test"],
        }
