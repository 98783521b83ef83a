"""Cases as lines of text, as they are read from a file: documents as words, images as zeros and ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.evaluation.generation import tokens_of
from vaebench.evaluation.trained_run import Trained


def lines_of(stream: Iterable[bytes]) -> list[str]:
    """The lines of UTF-8 input without their ends. Raises UserError for none, an empty one, or other bytes."""
    found = []
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as e:
            raise UserError(f"input: line {number} is not UTF-8 text (byte 0x{raw[e.start]:02x})") from None
        if not line:
            raise UserError(f"input: line {number} is empty; expected one case a line")
        found.append(line)

    if not found:
        raise UserError("input: nothing to read; expected one case a line on standard input")
    return found


def read_documents(lines: list[str], trained: Trained) -> Tensor:
    """Documents (n, d) of token numbers. Raises UserError for a tab, which would be a label's."""
    for number, line in enumerate(lines, start=1):
        if "\t" in line:
            raise UserError(f"input: line {number} has a tab, expected a document alone, without a label")
    return tokens_of(lines, trained.splits.vocabulary)


def read_images(lines: list[str], trained: Trained) -> Tensor:
    """Images (n, d) of zeros and ones. Raises UserError for a line of anything else."""
    wanted = trained.model.sizes[0]
    for number, line in enumerate(lines, start=1):
        odd = next((i for i, c in enumerate(line) if c not in "01"), None)
        if len(line) != wanted or odd is not None:
            found = f"{len(line)} characters" if odd is None else f"{line[odd]!r} at character {odd + 1}"
            raise UserError(f"input: line {number}: expected {wanted} characters 0 or 1, found {found}")
    return torch.tensor([[float(c) for c in line] for line in lines])
