"""What a model is told about the data that it is built for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaebench.data.kinds import Kind


@dataclass(frozen=True, eq=False)
class DataInfo:
    """What is known of a data set before a model sees its examples.

    ``Splits.info`` returns it for a data set.

    Args:
        mean: Training mean, (d,), anything that NumPy makes an array of; kept as float32. For
            documents: the relative frequencies of the vocabulary, (V,). For counts: the mean count
            of each word.
        kind: Kind of the examples.
        shape: Shape of one example, such as (28, 28); its product is d. If empty, it is (d,), or
            unknown for documents.
        longest: For counts, the tokens of the longest training document; 0 if not known.

    Raises:
        ValueError: If an example of ``shape`` does not have d numbers.
    """

    mean: np.ndarray
    kind: Kind = Kind.BITS
    shape: tuple[int, ...] = ()
    longest: int = 0

    def __post_init__(self) -> None:
        mean: Any = self.mean
        set_field = object.__setattr__  # a frozen dataclass has no other way
        set_field(self, "mean", np.asarray(mean, dtype=np.float32))
        if self.kind is Kind.TOKENS:
            return

        if not self.shape:
            set_field(self, "shape", (len(self.mean),))
        if math.prod(self.shape) != len(self.mean):
            raise ValueError(
                f"examples of shape {self.shape} beside a mean of {len(self.mean)} numbers"
            )

    @property
    def size(self) -> int:
        """d, the numbers of one example; for documents V, the entries of the vocabulary."""
        return len(self.mean)

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary of documents and counts; 0 for all other data."""
        return len(self.mean) if self.kind in (Kind.TOKENS, Kind.COUNTS) else 0
