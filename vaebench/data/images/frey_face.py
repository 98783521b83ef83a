"""Frey Face: 1,965 images of one face, 28x20, grey.

They are from a video by B. Frey, made public by S. Roweis.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.files.sources import FREY_FACE
from vaebench.data.loader import IntensityLoader

if TYPE_CHECKING:
    import numpy as np

SEED = 1965
"""Seed of the permutation that splits the images: neighbours in the video are nearly the same."""


class FreyFace(IntensityLoader):
    """Frey Face, level / 255, in a fixed random order: 1,500/100/365 x 560.

    No paper says how it splits the images. 365 for testing is the number in code of AEVB's first
    author (``dpkingma/nips14-ssl``: 1,600 and 365, shuffled, level / 256). Of the others 100 are
    used for validation.
    """

    name = "frey_face"
    sources = FREY_FACE
    shape = (28, 20)
    rows: ClassVar[dict[str, int]] = {"train": 1_500, "valid": 100, "test": 365}

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        import numpy as np

        from vaebench.data.files.formats import read_pickled
        from vaebench.data.splits import random_order

        frame_count = sum(self.rows.values())
        frames = read_pickled(files["freyfaces"], (frame_count, math.prod(self.shape)))
        shuffled = frames[random_order(frame_count, np.random.SeedSequence(SEED))]
        end_of_train = self.rows["train"]
        end_of_valid = end_of_train + self.rows["valid"]
        return {
            "train": shuffled[:end_of_train],
            "valid": shuffled[end_of_train:end_of_valid],
            "test": shuffled[end_of_valid:],
        }
