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
        for_testing = held_out_mask(self.stories, self.tested, SEED)
        vocabulary, documents = most_frequent(tokens, offsets, stems, ~for_testing, self.words)

        # A document of counts has at least one token: see ``Splits``.
        has_words = documents.lengths > 0
        if not has_words.all():
            log.warning(
                "%s: %d stories hold none of its words and are left out",
                self.name,
                int((~has_words).sum()),
            )

        parts = parted(documents.chosen(~for_testing & has_words), self.valid)
        return {**parts, "test": documents.chosen(for_testing & has_words)}, vocabulary

    def _tokens(self, files: dict[str, Path]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Return the stems' numbers, where each story begins, and the stems. Raises DataError."""
        import numpy as np

        # Stems are numbered by first appearance. Arrays of C integers, because the 800,000 stories
        # as lists of texts would take many times the memory.
        number_of: dict[str, int] = {}
        tokens = array("i")
        offsets = array("q", [0])
        for path in files.values():
            for story in read_stories(path):
                tokens.extend([number_of.setdefault(stem, len(number_of)) for stem in story])
                offsets.append(len(tokens))

        if (stories := len(offsets) - 1) != self.stories:
            folder = next(iter(files.values())).parent
            raise DataError(
                f"{folder}: {stories:,} stories in its token files, expected {self.stories:,}"
            )
        return np.array(tokens, dtype=np.int32), np.array(offsets, dtype=np.int64), list(number_of)


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
    if (distinct := np.count_nonzero(frequency)) < words:
        raise DataError(
            f"the training stories have {distinct:,} different words, expected {words:,} or more"
        )
    # The last key sorts first: by falling frequency, then by the stem.
    stems_in_order = np.lexsort((np.array(stems), -frequency))[:words]

    # Keep the tokens of the vocabulary alone. A story then begins after as many tokens as were
    # kept before its old beginning.
    word_of_stem = np.full(len(stems), -1, dtype=np.int32)
    word_of_stem[stems_in_order] = np.arange(words)
    word_of_token = word_of_stem[tokens]
    in_vocabulary = word_of_token >= 0
    kept_before = np.concatenate([[0], np.cumsum(in_vocabulary)])
    return tuple(stems[i] for i in stems_in_order), Documents.of_tokens(
        word_of_token[in_vocabulary], kept_before[offsets]
    )
