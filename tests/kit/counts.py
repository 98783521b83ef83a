"""Documents as counts of seven words, and the files that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = 7


def rows_of(number: int, seed: int, most: int = 5) -> np.ndarray:
    """Counts (number, WORDS); every document has at least one word."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, most + 1, (number, WORDS)) * rng.integers(0, 2, (number, WORDS))
    rows[rows.sum(1) == 0, 3] = 1
    return rows


def text_of(rows: np.ndarray) -> bytes:
    """The words of each line in a random order, as in the released files."""
    rng = np.random.default_rng(0)
    lines = []
    for i, row in enumerate(rows):
        ids = rng.permutation(np.flatnonzero(row))
        lines.append(" ".join([str(i % 3 + 1), *(f"{j + 1}:{row[j]}" for j in ids)]))

    return ("\n".join(lines) + "\n").encode()


def vocabulary_of(words: int) -> bytes:
    """A vocabulary file of so many words."""
    return "".join(f"w{i} {100 - i}\n" for i in range(words)).encode()


def written(path: Path, content: bytes | str) -> Path:
    """Write a file, with its folders, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
