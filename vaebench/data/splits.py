"""Splits: the prepared examples as a run uses them, with their hashes.

Which examples are held out for validation is decided here too.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError


@dataclass(frozen=True)
class Splits:
    """Train, validation and test examples of one data set, each (n, d).

    Attributes:
        name: Name in the configuration, e.g. 'mnist_static'.
        train: The training examples, by ``kind``. Bits are uint8. Grey levels are uint8, or float32
            in 0..255. Intensities are float32. Tokens are int16 or int32; a row is <s> 1, words,
            </s> 2, then padding 0, and the rows are sorted by length. Counts are uint8 or int16:
            how often each word of the vocabulary is in a document, which has at least 1 token.
        valid: The validation examples, as ``train``; but of grey data they are bits.
        test: The test examples, as ``valid``.
        kind: Kind of the examples.
        mean: float32 (d,), mean of ``train``; of grey levels it is scaled to [0, 1]. For documents
            float32 (V,): the relative frequency of each entry of the vocabulary among the words and
            ends of ``train``. For counts: their means.
        hashes: 'train', 'valid', 'test' -> hex SHA-256 of the array as used (dtype, shape and bytes
            all enter); for documents and counts also 'vocabulary'.
        shape: Shape of one example, for pictures of it; its product is d.
        vocabulary: The V entries of documents and counts by number; empty for other data.
        longest: For counts, the tokens of the longest document of ``train``; else 0.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    kind: Kind
    mean: np.ndarray
    hashes: dict[str, str]
    shape: tuple[int, ...]
    vocabulary: tuple[str, ...] = ()
    longest: int = 0

    @property
    def info(self) -> DataInfo:
        """What a model is told about the data."""
        return DataInfo(self.mean, self.kind, () if self.tokens else self.shape, self.longest)

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of an example's picture; an example that is no image is one row."""
        return (
            (self.shape[0], self.shape[1]) if len(self.shape) == 2 else (1, math.prod(self.shape))
        )

    @property
    def tokens(self) -> bool:
        """Whether the examples are documents as sequences of tokens."""
        return self.kind is Kind.TOKENS

    @property
    def hash(self) -> str:
        """One hex SHA-256 over the three splits.

        The vocabulary of documents and counts enters too.
        """
        return self.hash_of("train", "valid", "test")

    def hash_of(self, *splits: str) -> str:
        """Return one hex SHA-256 over some splits, and the vocabulary of documents and counts."""
        parts = (*splits, *(("vocabulary",) if self.vocabulary else ()))
        lines = [f"{part}:{self.hashes[part]}" for part in parts]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def array_hash(array: np.ndarray) -> str:
    """Return the hex SHA-256 of an array: dtype, shape and bytes (row-major, little-endian)."""
    # Row-major and little-endian, so that the hash is the same on every machine.
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str} {little.shape}\n".encode())
    digest.update(little.data)
    return digest.hexdigest()


def make_splits(
    name: str,
    train: np.ndarray,
    valid: np.ndarray,
    test: np.ndarray,
    shape: tuple[int, ...],
    kind: Kind = Kind.BITS,
) -> Splits:
    """Make splits of bits or grey levels, with their mean and hashes filled in."""
    top = 255 if kind is Kind.GREY else 1
    # Whole numbers are summed, so that the mean is the same on every machine.
    mean = (train.sum(axis=0, dtype=np.int64) / (top * len(train))).astype(np.float32)
    hashes = {"train": array_hash(train), "valid": array_hash(valid), "test": array_hash(test)}
    return Splits(name, train, valid, test, kind, mean, hashes, shape)


def make_intensity_splits(
    name: str,
    train: np.ndarray,
    valid: np.ndarray,
    test: np.ndarray,
    shape: tuple[int, ...],
    top: int = 255,
) -> Splits:
    """Make splits of intensities, levels / ``top`` as float32.

    The levels are (n, d) uint8 from 0 to ``top``.
    """
    # As in ``make_splits``: whole numbers are summed.
    mean = (train.sum(axis=0, dtype=np.int64) / (top * len(train))).astype(np.float32)
    train, valid, test = (
        levels.astype(np.float32) / np.float32(top) for levels in (train, valid, test)
    )

    hashes = {"train": array_hash(train), "valid": array_hash(valid), "test": array_hash(test)}
    return Splits(name, train, valid, test, Kind.INTENSITY, mean, hashes, shape)


def make_grey_splits(
    name: str, train: np.ndarray, valid: np.ndarray, test: np.ndarray, shape: tuple[int, ...]
) -> Splits:
    """Make splits of grey data; ``train`` is uint8 levels 0..255 or float32 levels in [0, 1]."""
    if train.dtype == np.uint8:
        return make_splits(name, train, valid, test, shape, Kind.GREY)

    # Here too whole numbers are summed: multiples of 2^-24, to which levels are rounded.
    scale = 1 << 24
    whole = np.rint(train * np.float32(scale)).astype(np.int32)
    mean = (whole.sum(axis=0, dtype=np.int64) / (scale * len(train))).astype(np.float32)

    levels = train * np.float32(255)
    hashes = {"train": array_hash(levels), "valid": array_hash(valid), "test": array_hash(test)}
    return Splits(name, levels, valid, test, Kind.GREY, mean, hashes, shape)


def with_cases(splits: Splits, n: int | None) -> Splits:
    """Return the splits with only ``n`` of the training examples, spread evenly over them.

    None returns them as they are. Mean, hashes and vocabulary stay those of all examples. Raises
    UserError if there are fewer examples.
    """
    if n is None:
        return splits
    check_cases(n, len(splits.train))
    return replace(splits, train=splits.train[np.arange(n) * len(splits.train) // n])


def check_cases(n: int | None, most: int) -> None:
    """Raise UserError if ``train.cases`` asks for more than the ``most`` examples there are."""
    if n is not None and n > most:
        raise UserError(f"train.cases={n}: allowed: null, or a whole number from 1 to {most}")


def check_held_out(n: int, pool: int) -> None:
    """Raise UserError unless ``n`` of ``pool`` examples can be held out: 1 <= n < pool."""
    if type(n) is not int or not 1 <= n < pool:
        raise UserError(
            f"data.held_out={n!r}: allowed: null (the data set's own validation examples), or a "
            f"whole number from 1 to {pool - 1}"
        )


def held_out_mask(pool: int, n: int, seed: int) -> np.ndarray:
    """Draw which ``n`` of ``pool`` examples are held out.

    Args:
        pool: Number of examples.
        n: Number of examples to hold out.
        seed: Seed of the draw.

    Returns:
        (pool,) bool, a function of the three numbers alone.

    Raises:
        UserError: Unless 1 <= n < pool and the seed is a whole number from 0.
    """
    check_held_out(n, pool)
    if type(seed) is not int or seed < 0:
        raise UserError(f"data.held_out_seed={seed!r}: allowed: a whole number from 0")

    # The first n of a random order. A larger n with the same seed holds out these and more.
    mask = np.zeros(pool, dtype=bool)
    mask[random_order(pool, np.random.SeedSequence(seed))[:n]] = True
    return mask


def random_order(n: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Return a random permutation of n examples, (n,) int.

    Uniforms are sorted, because NumPy may change the algorithm of Generator.permutation between
    releases.
    """
    uniform = np.random.Generator(np.random.PCG64(seed)).random(n)
    return np.argsort(uniform, kind="stable")
