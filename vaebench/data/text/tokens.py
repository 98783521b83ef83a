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
"""Most places in the padded rows of one split: 4 GB as int16."""


def encode(documents: Mapping[str, Iterable[list[str]]]) -> dict[str, np.ndarray]:
    """The canonical arrays of ``TextLoader``.

    From the words of each document of 'train', 'valid' and 'test'. New words are numbered by first
    appearance in the training documents, after ``SPECIALS``. Words that look like one of these
    become ``<unk>``: were they kept, a document could end, or be masked, before its end.
    """
    # As many keys as special entries, so its length is the next number.
    numbers = dict.fromkeys(SPECIALS, UNKNOWN)
    flat: dict[str, array[int]] = {}
    offsets: dict[str, array[int]] = {}
    for split in SPLITS:
        ids, ends = flat[split], offsets[split] = array("i"), array("q", [0])
        for words in documents[split]:
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
    """A vocabulary as one uint8 array; no word holds a line feed."""
    return np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)


def unpacked(entries: np.ndarray) -> tuple[str, ...]:
    """The vocabulary in a ``packed`` array."""
    return tuple(entries.tobytes().decode().split("\n"))


def padded(flat: np.ndarray, offsets: np.ndarray, width: int) -> np.ndarray:
    """Rows ``<s> words </s> <pad> ...``, (n, width) of flat's dtype, shortest first.

    Equally long ones as they came.
    """
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    rows = np.full((len(lengths), width), PAD, dtype=flat.dtype)
    rows[:, 0] = START
    column = np.arange(1, len(flat) + 1) - np.repeat(offsets[:-1], lengths)
    rows[np.repeat(rank, lengths), column] = flat
    rows[rank, lengths + 1] = END
    return rows


def make_text_splits(name: str, arrays: Mapping[str, np.ndarray]) -> Splits:
    """Splits of the canonical arrays of ``TextLoader``.

    Every split as wide as the longest document of all three. ``mean`` is the relative frequency of
    each entry of the vocabulary among the predicted tokens of the training documents, their words
    and ends. Raises DataError where padding would take more than ``CELLS`` places.
    """
    lengths = {split: np.diff(arrays[f"{split}_offsets"]) for split in SPLITS}
    width = max(int(n.max()) for n in lengths.values()) + 2
    most = max(len(n) for n in lengths.values())
    if width * most > CELLS:
        raise DataError(
            f"{name}: {most:,} documents beside one of {width - 2:,} words: padded to the "
            f"longest, they would take {width * most:.1e} places; allowed: {CELLS:.1e}; cut the "
            "longest documents"
        )

    vocabulary = unpacked(arrays["vocabulary"])
    rows = {split: padded(arrays[split], arrays[f"{split}_offsets"], width) for split in SPLITS}

    counts = np.bincount(arrays["train"], minlength=len(vocabulary))
    counts[END] = len(lengths["train"])

    hashes = {split: array_hash(rows[split]) for split in SPLITS}
    hashes["vocabulary"] = array_hash(arrays["vocabulary"])

    mean = (counts / counts.sum()).astype(np.float32)
    train, valid, test = rows.values()
    return Splits(name, train, valid, test, Kind.TOKENS, mean, hashes, (width,), vocabulary)


def with_entries(splits: Splits, n: int) -> Splits:
    """Documents over the ``n`` most frequent entries of their vocabulary, SPECIALS among them.

    The rest is ``<unk>``. Frequent in the training documents; of equally frequent words the earlier
    stays. The order of the entries does. Raises UserError where the data are no documents, or n
    leaves fewer than two words, or is more than all entries.
    """
    entries = len(splits.vocabulary) if splits.tokens else 0
    check_entries(n, entries)
    falling = np.argsort(-splits.mean[len(SPECIALS) :], kind="stable")
    common = falling[: n - len(SPECIALS)] + len(SPECIALS)
    kept = np.concatenate([np.arange(len(SPECIALS)), np.sort(common)])
    number = np.full(entries, UNKNOWN, dtype=splits.train.dtype)
    number[kept] = np.arange(n)
    rows = {split: number[getattr(splits, split)] for split in SPLITS}
    mean = np.zeros(n, dtype=np.float64)
    np.add.at(mean, number, splits.mean.astype(np.float64))
    vocabulary = tuple(splits.vocabulary[i] for i in kept)
    hashes = {split: array_hash(v) for split, v in rows.items()} | {
        "vocabulary": array_hash(packed(vocabulary))
    }
    return replace(
        splits, **rows, mean=mean.astype(np.float32), hashes=hashes, vocabulary=vocabulary
    )


def check_entries(n: int, entries: int) -> None:
    """Raises UserError unless ``n`` of a vocabulary's ``entries`` can be kept.

    Data without documents have none.
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
    """``<s> words </s>`` as numbers, by the rule of ``encode``.

    Words not in the vocabulary are ``<unk>``.
    """
    numbers = {word: i for i, word in enumerate(vocabulary) if i >= len(SPECIALS)}
    return [START, *(numbers.get(word, UNKNOWN) for word in words), END]


def words_of(ids: Iterable[int], vocabulary: Sequence[str]) -> list[str]:
    """The words of one row.

    What stands between ``<s>``, where there is one, and the first ``</s>`` or ``<pad>``.
    """
    words: list[str] = []
    for i in map(int, ids):
        if i in (END, PAD):
            break
        if i != START:
            words.append(vocabulary[i])
    return words


def text_of(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """The same as a text, with a blank between two words."""
    return " ".join(words_of(ids, vocabulary))


def unknown_share(rows: np.ndarray) -> float:
    """Of the words in padded rows (n, d), the share that are ``<unk>``.

    0 where there is no word.
    """
    words = np.count_nonzero((rows != PAD) & (rows != START) & (rows != END))
    return np.count_nonzero(rows == UNKNOWN) / words if words else 0.0


@dataclass(frozen=True)
class Statistics:
    """Of one split: documents, predicted tokens (words and ends).

    And the most of these in one document.
    """

    documents: int
    tokens: int
    longest: int


def statistics(rows: np.ndarray) -> Statistics:
    """Counts of padded rows (n, d)."""
    lengths = np.count_nonzero(rows != PAD, axis=1) - 1
    return Statistics(len(rows), int(lengths.sum()), int(lengths.max()))
