"""Documents as counts, in memory and on disk: the words of each document, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits, array_hash, held_out_mask
from vaebench.data.text.tokens import packed, unpacked

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents of a vocabulary, stored one after the other.

    Attributes:
        words: uint16 (n,), or int32 if the vocabulary has more than 65,536 words; words are
            numbered from 0.
        counts: uint16 (n,), from 1: how often the word is in the document.
        offsets: int64 (documents + 1,); document i has the places from ``offsets[i]`` to
            ``offsets[i + 1]``.
    """

    words: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, words: Any, counts: Any, offsets: Any) -> Documents:
        """Return documents made of whole numbers, in anything that NumPy makes an array of."""
        numbers = np.asarray(words, dtype=np.int64)
        word_dtype = np.uint16 if not len(numbers) or int(numbers.max()) < 1 << 16 else np.int32
        return cls(
            numbers.astype(word_dtype),
            np.asarray(counts, dtype=np.uint16),
            np.asarray(offsets, dtype=np.int64),
        )

    @classmethod
    def of_tokens(cls, tokens: np.ndarray, offsets: np.ndarray) -> Documents:
        """Return the documents of these token sequences.

        ``tokens`` (n,) are words from 0; document i begins at ``offsets[i]``.
        """
        lengths = np.diff(offsets)
        size = int(tokens.max()) + 1 if len(tokens) else 1

        # One number for each pair of document and word, so that one sort counts them all.
        pairs = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths) * size + tokens
        distinct_pairs, counts = np.unique(pairs, return_counts=True)

        # Pairs are sorted by document, so the numbers of distinct words say where each one begins.
        words_in_document = np.bincount(distinct_pairs // size, minlength=len(lengths))
        return cls.of(
            distinct_pairs % size, counts, np.concatenate([[0], np.cumsum(words_in_document)])
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every document, (documents,) int64."""
        # Sums of all counts before each place; a document's tokens are the difference at its ends.
        running = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        return running[self.offsets[1:]] - running[self.offsets[:-1]]

    def chosen(self, places: np.ndarray) -> Documents:
        """Return the documents at ``places``, (n,) bool or whole numbers, in this order."""
        rows = np.arange(len(self))[places]  # numbers, also if ``places`` is a mask
        sizes = (self.offsets[1:] - self.offsets[:-1])[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])

        # Where each entry of the result is in this object: its document's start, and its place.
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        at = np.repeat(self.offsets[rows], sizes) + within
        return Documents(self.words[at], self.counts[at], offsets)

    def with_log_counts(self) -> Documents:
        """Return the documents with every count n replaced by log(1 + n), rounded half up.

        That is 1 for n of 1 to 3, 2 for 4 to 11, and never 0.
        """
        rounded = np.floor(0.5 + np.log1p(self.counts.astype(np.float64)))
        return Documents(self.words, rounded.astype(np.uint16), self.offsets)

    def dense(self, vocabulary: int, dtype: Any) -> np.ndarray:
        """Return the counts as dense rows, (documents, vocabulary) of ``dtype``."""
        rows = np.zeros((len(self), vocabulary), dtype=dtype)
        row_of_word = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        rows[row_of_word, self.words] = self.counts
        return rows


def joined(first: Documents, second: Documents) -> Documents:
    """Return the documents of both, the first's in front."""
    # The second's offsets are moved behind the words of the first; their leading 0 is dropped.
    words = np.concatenate([first.words, second.words])
    counts = np.concatenate([first.counts, second.counts])
    return Documents(
        words, counts, np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    )


def to_arrays(
    documents: Mapping[str, Documents], vocabulary: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the canonical arrays of ``CountsLoader``."""
    arrays = {"vocabulary": packed(vocabulary)}
    for split in SPLITS:
        part = documents[split]
        arrays |= {
            split: part.words,
            f"{split}_counts": part.counts,
            f"{split}_offsets": part.offsets,
        }
    return arrays


def of_arrays(arrays: Mapping[str, np.ndarray], split: str) -> Documents:
    """Return the documents of one split of the canonical arrays."""
    return Documents(arrays[split], arrays[f"{split}_counts"], arrays[f"{split}_offsets"])


def make_count_splits(
    name: str,
    arrays: Mapping[str, np.ndarray],
    log_counts: bool,
    held_out: int | None,
    held_out_seed: int,
) -> Splits:
    """Make splits from the canonical arrays of ``CountsLoader``.

    The rows are dense, (n, V), with one byte for each count if that is enough.

    Args:
        name: Name of the data set.
        arrays: The canonical arrays.
        log_counts: Whether counts are replaced by round(log(1 + n)).
        held_out: None, or the number of documents that are drawn at random from training and
            validation together, to validate.
        held_out_seed: Seed of that draw.

    Raises:
        UserError: If so many cannot be held out.
    """
    parts = {split: of_arrays(arrays, split) for split in SPLITS}
    # Held-out documents are drawn from training and validation together.
    if held_out is not None:
        pool = joined(parts["train"], parts["valid"])
        held = held_out_mask(len(pool), held_out, held_out_seed)
        parts |= {"train": pool.chosen(~held), "valid": pool.chosen(held)}

    if log_counts:
        parts = {split: part.with_log_counts() for split, part in parts.items()}

    vocabulary = unpacked(arrays["vocabulary"])
    largest_count = max(int(part.counts.max()) for part in parts.values())
    # torch has no unsigned 16-bit integers to compute with.
    dtype = np.uint8 if largest_count <= np.iinfo(np.uint8).max else np.int16
    train, valid, test = (parts[split].dense(len(vocabulary), dtype) for split in SPLITS)

    # Totals are whole numbers below 2^53, so the mean is the same on every machine.
    documents = parts["train"]
    totals = np.bincount(documents.words, weights=documents.counts, minlength=len(vocabulary))
    mean = (totals / len(documents)).astype(np.float32)

    hashes = {"train": array_hash(train), "valid": array_hash(valid), "test": array_hash(test)}
    hashes["vocabulary"] = array_hash(arrays["vocabulary"])
    longest = int(documents.lengths.max())
    shape = (len(vocabulary),)
    return Splits(name, train, valid, test, Kind.COUNTS, mean, hashes, shape, vocabulary, longest)
