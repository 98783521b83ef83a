"""Documents as words, and the files that hold them."""

from __future__ import annotations

from vaebench.data import prepare

DOCUMENTS = {
    "train": [["b", "a", "b", "c"], ["a"], ["d", "a"], ["c", "e"]],
    "valid": [["a", "z", "b"], ["q"]],
    "test": [["e", "e", "y", "a", "b", "c"], ["b"]],
}


def text_of(documents: list[list[str]], labels: bool = False) -> bytes:
    """A file of documents, one a line."""
    label = "3\t" if labels else ""
    return "".join(f"{label}{' '.join(words)}\n" for words in documents).encode()


def load(cls, mirror, root):
    """The splits that a loader of class ``cls`` prepares in the folder ``root``."""
    loader = cls()
    return loader.splits(prepare.prepare(loader, mirror, root), None, 0)
