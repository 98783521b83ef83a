"""OMNIGLOT at 28x28, as grey levels that are binarized anew at each visit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.files.sources import OMNIGLOT, OMNIGLOT_RECONSTRUCTED, Source
from vaebench.data.loader import GreyLoader
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits

SEED = 1
"""Seed of the evaluation noise, in NumPy's RandomState, as in Vahdat et al. (2018). Changing it
changes the data."""


class Chardata(GreyLoader):
    """OMNIGLOT in the form of Burda, Grosse & Salakhutdinov (2016), a MATLAB file.

    23,000 examples for training, 1,345 for validation. ``data`` and ``testdata`` hold one example a
    column, with pixels from 0 (paper) to 1 (ink), column by column; here every example is turned
    upright, row by row. The last 1,345 training examples are used for validation.

    Training examples stay grey, and the training loop binarizes them at each visit. Their levels
    are any numbers in [0, 1], no multiples of 1/255, so ``Splits.train`` is float32 (n, d) in
    0..255: as bytes, an image would have lost 0.012 of its 65 expected ones.

    Validation and test are binarized once, x = 1 if u < grey, with u drawn from one RandomState(1),
    whose stream is frozen: first for the validation examples, then for the test examples. Other
    held-out examples also get its first numbers.
    """

    sources: ClassVar[dict[str, Source]]
    shape = (28, 28)
    rows: ClassVar[dict[str, int]]
    valid: ClassVar[int] = 1_345

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        from vaebench.data.files.formats import read_mat, upright

        path = files["chardata"]
        width = math.prod(self.shape)
        split_of = {"data": "train", "testdata": "test"}
        arrays_by_key = read_mat(
            path, {key: (width, self.rows[split]) for key, split in split_of.items()}
        )
        grey = {}
        for key, split in split_of.items():
            if not ((arrays_by_key[key] >= 0) & (arrays_by_key[key] <= 1)).all():  # nor NaN
                raise DataError(f"{path}: {key} has values outside [0, 1]")
            grey[split] = upright(arrays_by_key[key].T, self.shape).astype(np.float32)

        train_count = self.rows["train"] - self.valid
        valid, test = _binarize_in_turn(grey["train"][train_count:], grey["test"])
        return {
            "train": grey["train"][:train_count],
            "valid": valid,
            "test": test,
            # Kept so that another validation split can be made.
            "valid_grey": grey["train"][train_count:],
        }

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        import numpy as np

        from vaebench.data.splits import held_out_mask, make_grey_splits

        train = arrays["train"]
        valid = arrays["valid"]
        test = arrays["test"]
        if held_out is not None:
            pool = np.concatenate([train, arrays["valid_grey"]])
            held = held_out_mask(len(pool), held_out, held_out_seed)
            train = pool[~held]
            # As for the file's own validation examples, these take the first numbers of the noise.
            (valid,) = _binarize_in_turn(pool[held])
        return make_grey_splits(self.name, train, valid, test, self.shape)


class Omniglot(Chardata):
    """Burda et al.'s own file: 23,000/1,345/8,070 x 784."""

    name = "omniglot"
    sources = OMNIGLOT
    rows: ClassVar[dict[str, int]] = {"train": 24_345, "test": 8_070}


class OmniglotReconstructed(Chardata):
    """A reconstruction of Burda et al.'s chardata.mat from OMNIGLOT.

    OMNIGLOT: Lake, Salakhutdinov & Tenenbaum 2015. Train and validation have the original's counts,
    but about 0.4 % of the images differ, and there are 8,115 test examples instead of 8,070.
    Numbers made with it are therefore never called OMNIGLOT's. It is not published: a mirror has to
    have it.
    """

    name = "omniglot_reconstructed"
    sources = OMNIGLOT_RECONSTRUCTED
    rows: ClassVar[dict[str, int]] = {"train": 24_345, "test": 8_115}


def _binarize_in_turn(*greys: np.ndarray) -> list[np.ndarray]:
    """Binarize grey examples in [0, 1]; the results are uint8.

    Each array takes the next numbers of one RandomState(SEED). As 0 <= u < 1, grey 0 is never 1 and
    grey 1 always is.
    """
    import numpy as np

    noise = np.random.RandomState(SEED)
    return [(noise.random_sample(grey.shape) < grey).astype(np.uint8) for grey in greys]
