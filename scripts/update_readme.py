"""Puts the Markdown report of a reference CSV between the README's markers; a test holds the two equal.

python scripts/update_readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

from vaebench import report, store
from vaebench.config import load_table

ROOT = Path(__file__).resolve().parent.parent
TABLE, CSV = "nvil_mnist", "results/reference/nvil_mnist-short.csv"
MARKS = re.compile(r"(<!-- table: begin -->\n).*?(<!-- table: end -->)", re.S)


def rendered() -> str:
    """The section between the markers."""
    frame = store.read_csv(ROOT / CSV)
    return report.render(load_table(TABLE), frame, "md").rstrip("\n") + f"\n\nFrom `{CSV}`.\n"


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    readme.write_text(MARKS.sub(lambda m: m[1] + rendered() + m[2], readme.read_text()))


if __name__ == "__main__":
    main()
