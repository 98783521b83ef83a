"""Reuters RCV1-v2 as counts of its 10,000 most frequent words, from the token files of LYRL2004.

Lewis, Yang, Rose & Li (2004): RCV1, a new benchmark collection for text categorization research.
As distributed, the tokens are stemmed and without stop words. Split and vocabulary follow
Salakhutdinov & Hinton (2009). They do not say which documents are for testing: ours are others.
"""

from __future__ import annotations

import logging
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.counts.corpus import CountsLoader, parted
from vaebench.data.counts.files import read_stories
from vaebench.data.files.sources import RCV1
from vaebench.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.counts.sparse import Documents

log = logging.getLogger(__name__)

SEED = 2009
"""Seed of the random split into documents for training and for testing."""


class Rcv1(CountsLoader):
    """Reuters RCV1-v2: 804,414 stories, 10,000 words.

    Of the stories 10,000, chosen at random, are for testing, and 100 of the others for validation.
    The words are the most frequent ones of the stories that are not for testing. Ties go to the
    word that sorts first. Stories with none of the words are left out, and their number is
    reported. Dense rows take 8 GB of memory, 16 GB if a word occurs more than 255 times in a story.
    """

    name = "rcv1"
    sources = RCV1
    words = 10_000
    stories: ClassVar[int] = 804_414
    tested: ClassVar[int] = 10_000
    valid: ClassVar[int] = 100

    def read(self, files: dict[str, Path]) -> tuple[dict[str, Documents], tuple[str, ...]]:
        from vaebench.data.splits import held_out_mask

        tokens, offsets, stems = self._tokens(files)
        tested = held_out_mask(self.stories, self.tested, SEED)
        vocabulary, documents = most_frequent(tokens, offsets, stems, ~tested, self.words)

        there = documents.lengths > 0
        if not there.all():
            log.warning(
                "%s: %d stories hold none of its words and are left out",
                self.name,
                int((~there).sum()),
            )

        parts = parted(documents.chosen(~tested & there), self.valid)
        return {**parts, "test": documents.chosen(tested & there)}, vocabulary

    def _tokens(self, files: dict[str, Path]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Return the stems' numbers, where each story begins, and the stems. Raises DataError."""
        import numpy as np

        numbers: dict[str, int] = {}
        tokens = array("i")
        offsets = array("q", [0])
        for path in files.values():
            for story in read_stories(path):
                tokens.extend([numbers.setdefault(stem, len(numbers)) for stem in story])
                offsets.append(len(tokens))

        if (found := len(offsets) - 1) != self.stories:
            folder = next(iter(files.values())).parent
            raise DataError(
                f"{folder}: {found:,} stories in its token files, expected {self.stories:,}"
            )
        return np.array(tokens, dtype=np.int32), np.array(offsets, dtype=np.int64), list(numbers)


def most_frequent(
    tokens: np.ndarray, offsets: np.ndarray, stems: list[str], counted: np.ndarray, words: int
) -> tuple[tuple[str, ...], Documents]:
    """Return the most frequent words as the vocabulary, and the documents as counts of these words.

    Args:
        tokens: Numbers of stems, (n,).
        offsets: (documents + 1,); document i has the tokens from ``offsets[i]`` to
            ``offsets[i + 1]``.
        stems: The stems by number.
        counted: (documents,) bool, the documents that the frequencies are taken from.
        words: Size of the vocabulary.

    Returns:
        The words, the most frequent one first; ties go to the word that sorts first. And all
        documents, of which some may be left without a word.

    Raises:
        DataError: If the counted documents have fewer different words.
    """
    import numpy as np

    from vaebench.data.counts.sparse import Documents

    lengths = np.diff(offsets)
    frequency = np.bincount(tokens[np.repeat(counted, lengths)], minlength=len(stems))
    if (found := np.count_nonzero(frequency)) < words:
        raise DataError(
            f"the training stories have {found:,} different words, expected {words:,} or more"
        )
    order = np.lexsort((np.array(stems), -frequency))[:words]

    # Keep the tokens of the vocabulary alone, and count them up to each story's new beginning.
    number = np.full(len(stems), -1, dtype=np.int32)
    number[order] = np.arange(words)
    kept = number[tokens]
    inside = kept >= 0
    running = np.concatenate([[0], np.cumsum(inside)])
    return tuple(stems[i] for i in order), Documents.of_tokens(kept[inside], running[offsets])
