"""What all data sets of documents as counts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.kinds import Kind
from vaebench.data.loader import Loader
from vaebench.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.counts.sparse import Documents
    from vaebench.data.splits import Splits

RAW = "raw"
LOG = "log1p"
COUNTS = (RAW, LOG)
"""What ``data.counts`` may be: n as it is, or round(log(1 + n)), half up."""


class CountsLoader(Loader):
    """A data set of documents as counts.

    Its canonical arrays, as prepared, are sparse, raw and in file order:

    - 'train', 'valid', 'test': (n,) uint16, the words of each document, numbered from 0.
    - 'train_counts', ...: (n,) uint16, how often each of them occurs.
    - 'train_offsets', ...: (documents + 1,) int64; document i has the places ``offsets[i]`` to
      ``offsets[i + 1]``.
    - 'vocabulary': uint8, the words in UTF-8 with line feeds between.

    ``Splits`` then has dense rows (n, V), uint8 or int16.

    Attributes:
        words: Size of the vocabulary; 0 if only the files know.
        documents: Number of documents in each split; empty if only the files know.

    Args:
        counts: ``raw``, or ``log1p``: every count n is replaced by round(log(1 + n)), half up.

    Raises:
        UserError: If ``counts`` is anything else.
    """

    kind = Kind.COUNTS
    words: ClassVar[int] = 0
    documents: ClassVar[dict[str, int]] = {}

    def __init__(self, counts: str = RAW) -> None:
        if counts not in COUNTS:
            raise UserError(f"data.counts={counts!r}: allowed: {' or '.join(COUNTS)}")
        self.counts = counts
        self.shape = (self.words,) if self.words else ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> CountsLoader:
        return cls(config.get("counts", RAW))

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.documents)

    def read(self, files: dict[str, Path]) -> tuple[dict[str, Documents], tuple[str, ...]]:
        """Return the documents of 'train', 'valid' and 'test', and the vocabulary; or DataError."""
        raise NotImplementedError

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        """Return the canonical arrays.

        Raises DataError if the files are not of the format, or if the number of words or documents
        is not the expected one.
        """
        from vaebench.data.counts.sparse import to_arrays

        documents, vocabulary = self.read(files)
        if self.words and len(vocabulary) != self.words:
            at = files.get("vocabulary", self.name)
            raise DataError(
                f"{at}: a vocabulary of {len(vocabulary):,} words, expected {self.words:,}"
            )

        for split, expected in self.documents.items():
            if (documents_found := len(documents[split])) != expected:
                raise DataError(
                    f"{files.get(split, self.name)}: {documents_found:,} documents for {split}, "
                    f"expected {expected:,}"
                )

        return to_arrays(documents, vocabulary)

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        from vaebench.data.counts.sparse import make_count_splits

        return make_count_splits(self.name, arrays, self.counts == LOG, held_out, held_out_seed)


def parted(documents: Documents, valid: int) -> dict[str, Documents]:
    """Split training documents into 'train' and 'valid'.

    ``valid`` documents, spread evenly over all, are for validation.
    """
    import numpy as np

    from vaebench.data.examples import every_nth

    # Spread evenly, because a file may be in the order of its topics.
    is_valid = np.zeros(len(documents), dtype=bool)
    is_valid[every_nth(np.arange(len(documents)), valid)] = True
    return {"train": documents.chosen(~is_valid), "valid": documents.chosen(is_valid)}
