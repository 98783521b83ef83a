"""Caltech-101 Silhouettes: outlines of objects, which are binary in the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.files.sources import CALTECH101_SILHOUETTES
from vaebench.data.loader import BinaryLoader
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np


class Caltech101Silhouettes(BinaryLoader):
    """Split 1 of the 28x28 silhouettes of Marlin, Swersky, Chen & de Freitas (2010).

    4,100/2,264/2,307 x 784. Object pixels are 0 and the background is 1, as in the file; some
    authors' loaders invert them. The file has the pixels column by column; here every example is
    turned upright, row by row.
    """

    name = "caltech101_silhouettes"
    sources = CALTECH101_SILHOUETTES
    shape = (28, 28)
    rows: ClassVar[dict[str, int]] = {"train": 4_100, "valid": 2_264, "test": 2_307}

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        from vaebench.data.files.formats import read_mat, upright

        path = files["split1"]
        width = math.prod(self.shape)
        key_of = {"train": "train_data", "valid": "val_data", "test": "test_data"}
        arrays_by_key = read_mat(
            path, {key: (self.rows[split], width) for split, key in key_of.items()}
        )

        # Checked before the conversion to bytes, which would hide other values.
        for key, cases in arrays_by_key.items():
            if not ((cases == 0) | (cases == 1)).all():
                raise DataError(f"{path}: {key} has values other than 0 and 1")
        return {
            split: upright(arrays_by_key[key].astype(np.uint8), self.shape)
            for split, key in key_of.items()
        }
