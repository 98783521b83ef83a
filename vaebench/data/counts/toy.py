"""Short documents as counts, from two topics each.

They are made here, small enough for tests and first steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.counts.corpus import CountsLoader

if TYPE_CHECKING:
    from vaebench.data.counts.sparse import Documents

SEED = 20140201
"""Seed of NumPy's RandomState, whose stream is frozen. Changing it, or any number
below, changes the data."""

TOPICS = 4
SHORTEST = 4
LONGEST = 20
"""Limits of the number of tokens of a document."""


class ToyCounts(CountsLoader):
    """400/100/100 synthetic documents of 4 to 20 tokens, 24 words.

    Each document mixes two of four topics. A topic has six words of its own, and one token in ten
    is any word.
    """

    name = "toy_counts"
    words = 24
    documents: ClassVar[dict[str, int]] = {"train": 400, "valid": 100, "test": 100}

    def read(self, files: dict[str, Path]) -> tuple[dict[str, Documents], tuple[str, ...]]:
        import numpy as np

        all_documents = documents(sum(self.documents.values()), self.words, SEED)
        ends = np.cumsum(list(self.documents.values()))
        rows = np.split(np.arange(len(all_documents)), ends[:-1])
        parts = {
            split: all_documents.chosen(places)
            for split, places in zip(self.documents, rows, strict=True)
        }
        return parts, tuple(f"word{i}" for i in range(self.words))


def documents(number: int, words: int, seed: int) -> Documents:
    """Draw ``number`` documents of a vocabulary of ``words``, which the four topics divide."""
    import numpy as np

    from vaebench.data.counts.sparse import Documents

    # The order of the draws below must stay: it is part of the data.
    uniform = np.random.RandomState(seed).random_sample
    lengths = SHORTEST + ((LONGEST - SHORTEST + 1) * uniform(number)).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    topics = (TOPICS * uniform((number, 2))).astype(int)
    weight = np.repeat(uniform(number), lengths)  # of the first topic in each document

    # One entry per token from here on: the topic that it comes from, then the word.
    total = offsets[-1]
    from_first = uniform(total) < weight
    topic = np.where(from_first, np.repeat(topics[:, 0], lengths), np.repeat(topics[:, 1], lengths))

    # A token is a word of its topic, or, one time in ten, any word.
    topic_words = words // TOPICS
    tokens = topic * topic_words + (topic_words * uniform(total)).astype(int)
    any_word = (words * uniform(total)).astype(int)
    return Documents.of_tokens(np.where(uniform(total) < 0.1, any_word, tokens), offsets)
