"""Documents as numbers: encoding, the prepared arrays, and the padded rows that a run uses."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits, array_hash
from vaebench.data.text.specials import END, PAD, SPECIALS, SPLITS, START, UNKNOWN
from vaebench.errors import DataError, UserError

CELLS = 1 << 31
"""Most places in the padded rows of one split: they take 4 GB as int16."""


def encode(documents: Mapping[str, Iterable[list[str]]]) -> dict[str, np.ndarray]:
    """Return the canonical arrays of ``TextLoader``.

    ``documents`` has the words of each document of 'train', 'valid' and 'test'. New words are
    numbered by first appearance in the training documents, after ``SPECIALS``. Words that look like
    one of these become ``<unk>``: if they were kept, a document could end, or be masked, too early.
    """
    # Each special entry is a key too, so len(numbers) is the number of the next new word.
    numbers = dict.fromkeys(SPECIALS, UNKNOWN)
    flat: dict[str, array[int]] = {}
    offsets: dict[str, array[int]] = {}

    for split in SPLITS:
        # Arrays of C integers, because lists of Python's would take several times the memory.
        ids, ends = flat[split], offsets[split] = array("i"), array("q", [0])
        for words in documents[split]:
            # The training documents come first in SPLITS; only their new words get numbers.
            if split == "train":
                ids.extend([numbers.setdefault(word, len(numbers)) for word in words])
            else:
                ids.extend([numbers.get(word, UNKNOWN) for word in words])
            ends.append(len(ids))

    dtype = np.int16 if len(numbers) <= np.iinfo(np.int16).max else np.int32
    arrays = {split: np.array(ids, dtype=dtype) for split, ids in flat.items()}
    arrays |= {
        f"{split}_offsets": np.array(ends, dtype=np.int64) for split, ends in offsets.items()
    }
    return {**arrays, "vocabulary": packed(numbers)}


def packed(vocabulary: Iterable[str]) -> np.ndarray:
    """Return a vocabulary as one uint8 array; no word holds a line feed."""
    return np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)


def unpacked(entries: np.ndarray) -> tuple[str, ...]:
    """Return the vocabulary in a ``packed`` array."""
    return tuple(entries.tobytes().decode().split("\n"))


def padded(flat: np.ndarray, offsets: np.ndarray, width: int) -> np.ndarray:
    """Return rows ``<s> words </s> <pad> ...``, (n, width) of flat's dtype, shortest first.

    Rows of equal length keep their order.
    """
    # ``rank`` is the inverse of ``order``: the row in which each document is put.
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    rows = np.full((len(lengths), width), PAD, dtype=flat.dtype)
    rows[:, 0] = START

    # Word i of a document goes to column i + 1 of the document's row, behind <s>.
    column = np.arange(1, len(flat) + 1) - np.repeat(offsets[:-1], lengths)
    rows[np.repeat(rank, lengths), column] = flat
    rows[rank, lengths + 1] = END
    return rows


def make_text_splits(name: str, arrays: Mapping[str, np.ndarray]) -> Splits:
    """Make splits from the canonical arrays of ``TextLoader``.

    All splits are as wide as the longest document of the three. ``mean`` is the relative frequency
    of each entry of the vocabulary among the predicted tokens of the training documents: their
    words and ends. Raises DataError if padding would take more than ``CELLS`` places.
    """
    # Two places more than the longest document has words: for <s> and </s>.
    lengths = {split: np.diff(arrays[f"{split}_offsets"]) for split in SPLITS}
    width = max(int(n.max()) for n in lengths.values()) + 2
    largest = max(len(n) for n in lengths.values())
    if width * largest > CELLS:
        raise DataError(
            f"{name}: {largest:,} documents beside one of {width - 2:,} words: padded to the "
            f"longest, they would take {width * largest:.1e} places; allowed: {CELLS:.1e}; cut the "
            "longest documents"
        )

    vocabulary = unpacked(arrays["vocabulary"])
    rows = {split: padded(arrays[split], arrays[f"{split}_offsets"], width) for split in SPLITS}

    # The canonical arrays have words alone; each document also has an end to be predicted.
    counts = np.bincount(arrays["train"], minlength=len(vocabulary))
    counts[END] = len(lengths["train"])

    hashes = {split: array_hash(rows[split]) for split in SPLITS}
    hashes["vocabulary"] = array_hash(arrays["vocabulary"])

    mean = (counts / counts.sum()).astype(np.float32)
    train, valid, test = rows.values()  # in the order of SPLITS
    return Splits(name, train, valid, test, Kind.TOKENS, mean, hashes, (width,), vocabulary)


def with_entries(splits: Splits, n: int) -> Splits:
    """Keep the ``n`` most frequent entries of the documents' vocabulary, SPECIALS among them.

    All other words become ``<unk>``. Frequencies are those of the training documents; of equally
    frequent words the earlier one is kept. The order of the entries stays. Raises UserError if the
    data are not documents, if n leaves fewer than two words, or if n is more than all entries.
    """
    entries = len(splits.vocabulary) if splits.tokens else 0
    check_entries(n, entries)

    # The sort is stable, so of equally frequent words the earlier one comes first. The kept words
    # are sorted again, so that they stay in the old order.
    by_frequency = np.argsort(-splits.mean[len(SPECIALS) :], kind="stable")
    kept_words = by_frequency[: n - len(SPECIALS)] + len(SPECIALS)
    kept_entries = np.concatenate([np.arange(len(SPECIALS)), np.sort(kept_words)])

    # Old number -> new number, which is that of <unk> for a dropped word.
    new_number = np.full(entries, UNKNOWN, dtype=splits.train.dtype)
    new_number[kept_entries] = np.arange(n)

    rows = {split: new_number[getattr(splits, split)] for split in SPLITS}

    # The frequencies of all dropped words add up in that of <unk>.
    mean = np.zeros(n, dtype=np.float64)
    np.add.at(mean, new_number, splits.mean.astype(np.float64))

    vocabulary = tuple(splits.vocabulary[i] for i in kept_entries)
    hashes = {split: array_hash(v) for split, v in rows.items()} | {
        "vocabulary": array_hash(packed(vocabulary))
    }
    return replace(
        splits, **rows, mean=mean.astype(np.float32), hashes=hashes, vocabulary=vocabulary
    )


def check_entries(n: int, entries: int) -> None:
    """Raise UserError unless ``n`` of a vocabulary's ``entries`` can be kept.

    ``entries`` is 0 for data that are not documents.
    """
    least = len(SPECIALS) + 2
    if not least <= n <= entries:
        allowed = (
            f"null, or a whole number from {least} to {entries}"
            if entries
            else "null alone, without documents"
        )
        raise UserError(f"data.entries={n}: allowed: {allowed}")


def ids_of(words: Sequence[str], vocabulary: Sequence[str]) -> list[int]:
    """Return ``<s> words </s>`` as numbers, by the rule of ``encode``.

    Words that are not in the vocabulary are ``<unk>``.
    """
    # Without the special entries: as in ``encode``, a word that looks like one is <unk>.
    numbers = {word: i for i, word in enumerate(vocabulary) if i >= len(SPECIALS)}
    return [START, *(numbers.get(word, UNKNOWN) for word in words), END]


def words_of(ids: Iterable[int], vocabulary: Sequence[str]) -> list[str]:
    """Return the words of one row.

    They are between ``<s>``, if there is one, and the first ``</s>`` or ``<pad>``.
    """
    words: list[str] = []
    for i in map(int, ids):
        if i in (END, PAD):
            break
        if i != START:
            words.append(vocabulary[i])
    return words


def text_of(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Return the words of one row as a text, with a blank between two words."""
    return " ".join(words_of(ids, vocabulary))


def unknown_share(rows: np.ndarray) -> float:
    """Return the share of ``<unk>`` among the words in padded rows (n, d).

    It is 0 if there is no word.
    """
    words = np.count_nonzero((rows != PAD) & (rows != START) & (rows != END))
    return np.count_nonzero(rows == UNKNOWN) / words if words else 0.0


@dataclass(frozen=True)
class Statistics:
    """Sizes of one split of documents.

    Attributes:
        documents: Number of documents.
        tokens: Number of predicted tokens, which are words and ends.
        longest: Number of predicted tokens in the longest document.
    """

    documents: int
    tokens: int
    longest: int


def statistics(rows: np.ndarray) -> Statistics:
    """Return the sizes of padded rows (n, d)."""
    lengths = np.count_nonzero(rows != PAD, axis=1) - 1  # <s> is not predicted
    return Statistics(len(rows), int(lengths.sum()), int(lengths.max()))
