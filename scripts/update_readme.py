"""Puts the Markdown report of the reference results between the README's markers; a test holds the two equal.

python scripts/update_readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from vaebench import report, store
from vaebench.catalogue import load_table

ROOT = Path(__file__).resolve().parent.parent
TABLE = "nvil_mnist"
MARKS = re.compile(r"(<!-- table: begin -->\n).*?(<!-- table: end -->)", re.S)


def rendered() -> str:
    """The section between the markers: all presets of the table in one."""
    found = [p for p in sorted((ROOT / "results" / "reference").glob(f"{TABLE}-*.csv")) if "curves" not in p.name]
    frame = pd.concat([store.read_csv(p) for p in found], ignore_index=True)
    names = ", ".join(f"`results/reference/{p.name}`" for p in found)
    return report.render(load_table(TABLE), frame, "md").rstrip("\n") + f"\n\nFrom {names}.\n"


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(MARKS.sub(lambda m: m[1] + rendered() + m[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
