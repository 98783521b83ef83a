"""Documents as text: files with one document a line, read strictly.

All data sets of documents share this. The vocabulary begins with ``SPECIALS``; every new word of
the training documents follows, in the order of first appearance (He et al. 2019, ICLR). Words are
what ``str.split`` returns, so any Unicode blank separates them. A line ends at a line feed, a
carriage return or both, and nowhere else. A word of another split that is not in the vocabulary is
``<unk>``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.files.lines import lines_of
from vaebench.data.kinds import Kind
from vaebench.data.loader import Loader
from vaebench.data.text.specials import SPECIALS, SPLITS, UNKNOWN
from vaebench.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits

log = logging.getLogger(__name__)

_FRAME = frozenset(SPECIALS) - {SPECIALS[UNKNOWN]}
"""Entries that mark the ends of a document and its padding. ``<unk>`` is none of them: in a text it
means what it says."""


def read_documents(path: Path, labels: bool = False) -> Iterator[list[str]]:
    """Yield the words of each document of a UTF-8 text, plain or gzipped, in file order.

    Empty lines are dropped, as are a byte order mark and the carriage returns of Windows. Words
    ``<pad>``, ``<s>`` and ``</s>`` in a document would be taken for the frame, so ``encode`` reads
    them as ``<unk>``; here they cause one warning for the file.

    Args:
        path: The file.
        labels: Whether each line is ``label<TAB>document``; the label is skipped.

    Raises:
        DataError: If this is no such text. One line with the file and the number of the line.
    """
    # Documents, those with a word that looks like a mark of the frame, and the line of the first
    # of these.
    count = 0
    with_marks = 0
    first_line = 0
    for number, line in lines_of(path):
        if not line or line.isspace():
            continue
        words = _document(path, number, line, labels).split()
        if not words:  # a label without a document
            continue

        count += 1
        if not _FRAME.isdisjoint(words):
            with_marks += 1
            first_line = first_line or number
        yield words

    if not count:
        raise DataError(f"{path}: no document in it: every line is empty")
    if with_marks:
        marks = ", ".join(sorted(_FRAME))
        log.warning(
            "%s: %d documents (first line %d) hold one of %s; read as <unk>",
            path,
            with_marks,
            first_line,
            marks,
        )


def _document(path: Path, number: int, line: str, labels: bool) -> str:
    """Return what follows the label, or the whole line."""
    label, tab, document = line.partition("\t")
    if not labels:
        if tab:
            raise DataError(
                f"{path}: line {number} has a tab, expected a document alone, without a label"
            )
        return line

    if not tab:
        raise DataError(f"{path}: line {number} has no tab, expected label<TAB>document")
    if not label.strip():
        raise DataError(
            f"{path}: line {number} has nothing before its tab, expected label<TAB>document"
        )
    if "\t" in document:
        raise DataError(f"{path}: line {number} has a second tab, expected label<TAB>document")
    return document


class TextLoader(Loader):
    """A data set of documents as token numbers.

    Its canonical arrays, as prepared, have the words alone, in file order, without frame or
    padding:

    - 'train', 'valid', 'test': (tokens,) int16, or int32 if the vocabulary has more than 32,767
      entries.
    - 'train_offsets', ...: (documents + 1,) int64; document i is
      ``train[train_offsets[i]:train_offsets[i + 1]]``.
    - 'vocabulary': uint8, the entries in UTF-8 with line feeds between.

    ``Splits`` then has rows ``<s> words </s> <pad> ...``, sorted by length: see
    vaebench.data.text.tokens.

    Attributes:
        labels: Whether lines are ``label<TAB>document``.
        documents: Required number of documents in each split; empty if any number will do.
        entries: Required size of the vocabulary; None if any size will do.
    """

    kind = Kind.TOKENS
    labels: ClassVar[bool] = False
    documents: ClassVar[dict[str, int]] = {}
    entries: ClassVar[int | None] = None

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.documents)

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        """Return the documents of each split, read from the files."""
        return {split: read_documents(files[split], self.labels) for split in SPLITS}

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        """Return the canonical arrays.

        Raises DataError if a file is no such text, if the text has fewer than two different words,
        or if the number of documents or entries is not the expected one.
        """
        from vaebench.data.text.tokens import encode, unpacked

        arrays = encode(self.read(files))
        where = files.get("train", self.name)
        entries = len(unpacked(arrays["vocabulary"]))
        if entries < len(SPECIALS) + 2:
            words = entries - len(SPECIALS)
            raise DataError(
                f"{where}: {'no word' if not words else 'a single word'} to learn: "
                "nothing is left to predict"
            )

        for split in SPLITS:  # a variance over a split needs two documents
            if len(arrays[f"{split}_offsets"]) - 1 < 2:
                raise DataError(
                    f"{files.get(split, split)}: a single document, expected two or more"
                )

        for split, expected in self.documents.items():
            if (number := len(arrays[f"{split}_offsets"]) - 1) != expected:
                raise DataError(
                    f"{files.get(split, split)}: {number:,} documents, expected {expected:,}"
                )

        if self.entries is not None and entries != self.entries:
            raise DataError(
                f"{where}: not {self.name}'s training documents: a vocabulary of {entries:,} "
                f"entries, expected {self.entries:,}; a text of your own is data=text"
            )
        return arrays

    def check_held_out(self, held_out: int | None) -> None:
        if held_out is not None:
            raise UserError(
                f"data.held_out={held_out!r}: {self.name} validates on documents of "
                "its own; allowed: null"
            )

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        """Return the splits as the files have them.

        Raises UserError if documents are to be held out.
        """
        from vaebench.data.text.tokens import make_text_splits

        self.check_held_out(held_out)
        return make_text_splits(self.name, arrays)
