"""The entries of every vocabulary that are not words, and the splits of documents."""

from __future__ import annotations

PAD, START, END, UNKNOWN = range(4)
"""Numbers of the special entries."""

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""The first entries of every vocabulary."""

SPLITS = ("train", "valid", "test")
