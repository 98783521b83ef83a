"""What the paper's own data and evaluation are, and in which parts a measured number differs from them."""

from __future__ import annotations

from vaebench.config.catalogue import load_preset
from vaebench.config.cells import Table
from vaebench.protocol.signature import samples_of, signature, signature_parts

WORDS = {
    "data": "data",
    "split": "split",
    "points": "test cases",
    "samples": "samples per case",
    "logz": "log Z",
    "posterior": "log Z of the posteriors",
}
"""Part of a signature -> what a reader calls it."""


def paper_parts(table: Table, row: str, column: str) -> dict[str, str]:
    """The parts in WORDS of the signature that the column's measure has in the paper's cell, without any override.

    The cell is composed, which costs a second where nothing was composed before: ask for what is shown, no more.
    """
    from vaebench.config.compose import cells

    (cell,) = cells(table, load_preset("paper"), only=[f"row={row}", f"column={column}"])
    found = signature_parts(signature(cell.config, cell.measure, samples_of(cell.config, cell.measure)))
    return {part: found[part] for part in WORDS if part in found}


def differing(table: Table, row: str, column: str, signature: str) -> str:
    """The parts of a signature that are not the paper's, in words; empty where none is found.

    For example ``data digits, not mnist_static; test cases 100, not all; log Z ais-1000x512, not ais-10000x1024``.
    """
    found, paper = signature_parts(signature), paper_parts(table, row, column)
    found["data"] = found.get("data", "").split("@")[0]
    words = WORDS | ({"points": "training cases"} if paper.get("split") == "train" else {})
    return "; ".join(
        f"{word} {found[part]}, not {paper[part]}"
        for part, word in words.items()
        if found.get(part) and paper.get(part) and found[part] != paper[part]
    )
