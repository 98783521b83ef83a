"""Put the numbers of results/reference/bench-kernels-*.json into docs/performance.md; tests hold the two equal."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->"
COLUMNS = ("plain", "compiled 1", "jax", "products", "kernel 1")


def table() -> str:
    """A line per family with a kernel: updates per second, and the kernel's ratio to the others."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "results" / "reference").glob("bench-kernels-*.json"))
    ]
    (where,) = {part["where"] for part in found}
    heads = [c.removesuffix(" 1") for c in COLUMNS]
    lines = [f"| updates per second | {' | '.join(heads)} | kernel / compiled | kernel / jax |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + 2))
    for row in (row for part in found for row in part["measured"] if "kernel 1" in row):
        cells = [f"{row[c]:,.0f}" if c in row else "" for c in COLUMNS]
        ratios = [f"{row['kernel 1'] / row[c]:.1f}" if c in row else "" for c in ("compiled 1", "jax")]
        lines.append(f"| {' | '.join([row['family'], *cells, *ratios])} |")
    return "\n".join(lines) + f"\n\n{where}.\n"


def page() -> str:
    """The page with the table in its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
