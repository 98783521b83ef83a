"""Put the numbers of results/reference/bench-*.json into docs/performance.md.

Tests hold the two equal.
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
COLUMNS = ("plain", "compiled 1", "jax", "products", "kernel 1")
"""Columns as ``bench.sections`` names them; behind an engine stands the number of seeds packed."""


def measured() -> tuple[str, list[dict]]:
    """Return the machine, and all measurements there, from the files bench-kernels-*.json."""
    benchmarks = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "results" / "reference").glob("bench-kernels-*.json"))
    ]
    # Numbers of different machines must not stand in one table: more than one place fails here.
    (where,) = {benchmark["where"] for benchmark in benchmarks}
    return where, [row for benchmark in benchmarks for row in benchmark["measured"]]


def table() -> str:
    """Return a line per family with a kernel: updates per second, and the kernel's ratios."""
    where, rows = measured()
    heads = [c.removesuffix(" 1") for c in COLUMNS]
    lines = [f"| updates per second | {' | '.join(heads)} | kernel / compiled | kernel / jax |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + 2))
    # A cell is empty if the family was not measured so, as when there is no loop in JAX for it.
    for row in (row for row in rows if "kernel 1" in row):
        cells = [f"{row[c]:,.0f}" if c in row else "" for c in COLUMNS]
        ratios = [
            f"{row['kernel 1'] / row[c]:.1f}" if c in row else "" for c in ("compiled 1", "jax")
        ]
        lines.append(f"| {' | '.join([row['family'], *cells, *ratios])} |")
    return "\n".join(lines) + f"\n\n{where}.\n"


def importance_table() -> str:
    """Return a line per family: milliseconds for 1,000 importance samples of an example.

    The last column is the share of the rate of matrix products.
    """
    where, rows = measured()
    lines = [
        (
            "| ms for 1,000 samples of a case | plain | kernel | products | plain / "
            "kernel | products / kernel |"
        )
    ]
    lines.append("| --- |" + " ---: |" * 5)
    for row in (row for row in rows if "rate" in row and "kernel" in row):
        cells = [f"{row[c]:.2f}" for c in ("plain", "kernel", "products")]
        gain = f"{row['plain'] / row['kernel']:.1f}"
        lines.append(
            f"| {' | '.join([row['family'], *cells, gain])} | "
            f"{row['products'] / row['kernel']:.0%} |"
        )
    return "\n".join(lines) + f"\n\n{where}.\n"


def boltzmann_table() -> str:
    """Return a line per family with chains or with bits drawn one by one, in milliseconds.

    The annealing of log Z has a line too.
    """
    where, rows = measured()
    lines = [
        (
            "| milliseconds | plain | of it chains | kernel | of it chains | products | "
            "kernel / plain | chains |"
        )
    ]
    lines.append("| --- |" + " ---: |" * 7)
    for row in rows:
        # The first form is an update (``bench.boltzmann.run``), the second an annealing.
        if "kernel update" in row:
            keys = ("update", "chains", "kernel update", "kernel chains", "products")
            cells = [f"{row[k]:.1f}" if k in row else "" for k in keys]
            ratio = f"{row['kernel update'] / row['update']:.2f}"
            chains = f"{row['kernel chains'] / row['chains']:.2f}" if "chains" in row else ""
            lines.append(f"| {' | '.join([row['family'], *cells, ratio, chains])} |")
        elif row["unit"] == "ms":
            ratio = f"{row['kernel'] / row['plain']:.2f}"
            lines.append(
                f"| {row['family']} | {row['plain']:,.0f} |  | {row['kernel']:,.0f} "
                f"|  |  | {ratio} |  |"
            )
    return "\n".join(lines) + f"\n\n{where}.\n"


def images_table() -> str:
    """Return two lines per family of images, in milliseconds.

    One is an update of 50 images, the other the NLL of one image.
    """
    benchmark = json.loads(
        (ROOT / "results" / "reference" / "bench-images.json").read_text(encoding="utf-8")
    )
    heads = ["literal", "plain", "kernel", "kernel bfloat16", "convolutions"]
    lines = [f"| milliseconds | {' | '.join(heads)} | kernel / literal | bfloat16 / literal |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + 2))
    for row in benchmark["measured"]:
        for work in ("update", "image"):
            values = {head: row.get(f"{work} {head}") for head in heads}
            cells = ["" if v is None else f"{v:,.0f}" for v in values.values()]
            ratios = [
                f"{values[head] / values['literal']:.2f}" for head in ("kernel", "kernel bfloat16")
            ]
            name = f"{row['family']}, {work}"
            lines.append(f"| {' | '.join([name, *cells, *ratios])} |")
    return "\n".join(lines) + f"\n\n{benchmark['where']}.\n"


def text_table() -> str:
    """Return a line per family of documents, in milliseconds.

    It has an update in both precisions, and the NLL of a document.
    """
    benchmark = json.loads(
        (ROOT / "results" / "reference" / "bench-text.json").read_text(encoding="utf-8")
    )
    lines = ["| milliseconds | update | update bfloat16 | bfloat16 / float32 | document |"]
    lines.append("| --- |" + " ---: |" * 4)
    for row in benchmark["measured"]:
        update = row["update"]
        update_bfloat16 = row["update bfloat16"]
        cells = [
            f"{update:,.1f}",
            f"{update_bfloat16:,.1f}",
            f"{update_bfloat16 / update:.2f}",
            f"{row['document']:,.1f}",
        ]
        lines.append(f"| {' | '.join([row['family'], *cells])} |")
    return "\n".join(lines) + f"\n\n{benchmark['where']}.\n"


def latents_table() -> str:
    """Return a line per family with Gaussian latents.

    It has the milliseconds of an update, beside loops of PyTorch and of JAX.
    """
    heads = ["plain", "compiled", "PyTorch loop", "JAX loop"]
    ratios = {
        "compiled / PyTorch": ("compiled", "PyTorch loop"),
        "compiled / JAX": ("compiled", "JAX loop"),
    }
    return _updates_table("bench-latents.json", heads, ratios)


def counts_table() -> str:
    """Return a line per belief net of documents as counts: milliseconds of an update by engine."""
    ratios = {"kernel / compiled": ("kernel", "compiled")}
    return _updates_table("bench-counts.json", ["plain", "compiled", "kernel"], ratios)


def _updates_table(name: str, heads: list[str], ratios: dict[str, tuple[str, str]]) -> str:
    """Return a line per family of a file: milliseconds of an update by each of ``heads``.

    ``ratios`` maps a heading to the two heads that are divided.
    """
    benchmark = json.loads((ROOT / "results" / "reference" / name).read_text(encoding="utf-8"))
    lines = [f"| milliseconds of an update | {' | '.join([*heads, *ratios])} |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + len(ratios)))
    for row in benchmark["measured"]:
        cells = [f"{row[head]:.2f}" for head in heads]
        cells += [
            f"{row[numerator] / row[denominator]:.2f}" for numerator, denominator in ratios.values()
        ]
        lines.append(f"| {' | '.join([row['family'], *cells])} |")
    return "\n".join(lines) + f"\n\n{benchmark['where']}.\n"


def put(text: str, name: str, content: str) -> str:
    """Return ``text`` with ``content`` between the marks of this name."""
    begin = f"<!-- {name}: begin -->\n"
    end = f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    return before + begin + content + end + rest.partition(end)[2]


def page() -> str:
    """Return the page with the tables in their places."""
    text = PAGE.read_text(encoding="utf-8")
    tables = {
        "bench": table(),
        "boltzmann": boltzmann_table(),
        "importance": importance_table(),
        "images": images_table(),
        "text": text_table(),
        "latents": latents_table(),
        "counts": counts_table(),
    }
    for name, content in tables.items():
        text = put(text, name, content)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
