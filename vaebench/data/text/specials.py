"""Entries of every vocabulary that are no words, and the splits that documents are read into."""

from __future__ import annotations

PAD, START, END, UNKNOWN = range(4)
"""Their numbers."""

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""The first entries of every vocabulary."""

SPLITS = ("train", "valid", "test")
