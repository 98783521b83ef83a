"""Examples as lines of text, as they are read from a file.

Documents are lines of words, images are lines of zeros and ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vaebench.data.splits import Splits
from vaebench.data.text.tokens import text_of
from vaebench.errors import UserError
from vaebench.evaluation.generation import tokens_of
from vaebench.evaluation.trained_run import Trained
from vaebench.models.text_generation import Document


def read(stream: Iterable[bytes], trained: Trained) -> Tensor:
    """Read examples (n, d) for a model from UTF-8 input, one per line.

    Raises UserError that names the wrong line.
    """
    lines = lines_of(stream)
    return read_documents(lines, trained) if trained.splits.tokens else read_images(lines, trained)


def lines_of(stream: Iterable[bytes]) -> list[str]:
    """Return the lines of UTF-8 input without their ends.

    Raises UserError if there is no line, an empty line, or a line of other bytes.
    """
    lines = []
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as e:
            raise UserError(
                f"input: line {number} is not UTF-8 text (byte 0x{raw[e.start]:02x})"
            ) from None
        if not line:
            raise UserError(f"input: line {number} is empty; expected one case a line")
        lines.append(line)

    if not lines:
        raise UserError("input: nothing to read; expected one case a line on standard input")
    return lines


def read_documents(lines: list[str], trained: Trained) -> Tensor:
    """Return documents (n, d) of token numbers. Raises UserError for a tab: labels follow tabs."""
    for number, line in enumerate(lines, start=1):
        if "\t" in line:
            raise UserError(
                f"input: line {number} has a tab, expected a document alone, without a label"
            )
    return tokens_of(lines, trained.splits.vocabulary)


def read_images(lines: list[str], trained: Trained) -> Tensor:
    """Return images (n, d) of zeros and ones. Raises UserError for a line of anything else."""
    pixels = trained.model.sizes[0]
    for number, line in enumerate(lines, start=1):
        # Place of the first character that is no pixel.
        wrong = next((i for i, c in enumerate(line) if c not in "01"), None)
        if len(line) != pixels or wrong is not None:
            problem = (
                f"{len(line)} characters"
                if wrong is None
                else f"{line[wrong]!r} at character {wrong + 1}"
            )
            raise UserError(
                f"input: line {number}: expected {pixels} characters 0 or 1, found {problem}"
            )
    return torch.tensor([[float(c) for c in line] for line in lines])


def written_documents(found: Iterable[Document], splits: Splits, of: Tensor | None = None) -> str:
    """Return documents as text, one per line; an empty document is an empty line.

    Args:
        found: The documents.
        splits: The data with their vocabulary.
        of: The documents (n, d) of token numbers from which these were made. If given, each stands
            before its result, with a tab between.
    """
    texts = [text_of(document.words, splits.vocabulary) for document in found]
    if of is not None:
        originals = [text_of(row, splits.vocabulary) for row in of.tolist()]
        texts = [f"{original}\t{text}" for original, text in zip(originals, texts, strict=True)]

    return "".join(f"{text}\n" for text in texts)
