"""Writes what the README says of the reference results, and the pages that it links to.

That is its table, how far all tables are, and a page with the whole of each. A test holds them
to the results.

python scripts/update_readme.py

The README shows at most MOST entries, each by its preset with the best evidence. docs/results-*.md
has everything. Nothing is chosen by its result.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from vaebench import report
from vaebench.config.catalogue import load_table
from vaebench.config.tables import Table
from vaebench.report import markdown, progress, recorded
from vaebench.report.page import Grid
from vaebench.report.states import MEANING
from vaebench.results import shipped

ROOT = Path(__file__).resolve().parent.parent
TABLE = "nvil_mnist"
MOST = 8
"""Most entries in the README's table."""

PAGE = ROOT / "docs" / f"results-{TABLE}.md"
PROGRESS = ROOT / "docs" / "progress.md"


def within(text: str, name: str, part: str) -> str:
    """Return ``text`` with ``part`` between the marks of that name."""
    marks = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.S)
    # A function, because in a text as replacement backslashes would be escapes.
    return marks.sub(lambda match: match[1] + part + match[2], text)


def sources() -> list[Path]:
    """Return the reference results of the table, a file for each preset."""
    # A second hyphen is that of -curves.csv and the like, which are no results.
    csv_files = sorted((ROOT / "results" / "reference").glob(f"{TABLE}-*.csv"))
    return [path for path in csv_files if path.stem.count("-") == 1]


def evidenced(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the MOST best-evidenced entries of a table.

    Each entry has the preset with the best evidence. More finished seeds are better evidence, then
    more updates, then the paper's own recipe. Among entries that are alike in these, the earlier
    ones of the table are taken.
    """
    # A setting is (evidence, minus its place in the table, its names), so that sorting puts the
    # best evidence first, and of equal ones the earlier entry.
    order = {entry: i for i, entry in enumerate(table.trained())}
    settings = []
    for (row, column, preset, key), runs in frame.groupby(
        ["row", "column", "preset", "key"], sort=False
    ):
        finished = runs[(runs["status"] == "done") & (runs["metric"] == table.measure_of(column))]
        if not len(finished) or (row, column) not in order:
            continue

        own_recipe = not finished["label"].iloc[0]
        evidence = (finished["seed"].nunique(), float(finished["updates"].mean()), own_recipe)
        settings.append((evidence, -order[row, column], (row, column, preset, key)))

    # The first setting of each entry is its best one; then the best MOST of these.
    best: dict[tuple[str, str], tuple] = {}
    for setting in sorted(settings, reverse=True):
        best.setdefault(setting[2][:2], setting)
    chosen = {setting[2] for setting in sorted(best.values(), reverse=True)[:MOST]}
    names = zip(frame["row"], frame["column"], frame["preset"], frame["key"], strict=True)
    return frame[[name in chosen for name in names]].reset_index(drop=True)


def rendered() -> str:
    """Return the README's section: the best-evidenced entries, and where the others are."""
    table = load_table(TABLE)
    frame = recorded.read(sources())
    shown = evidenced(table, frame)
    chosen = set(zip(shown["row"], shown["column"], strict=True))
    entries = [entry for entry in table.trained() if entry in chosen]
    text = report.render(table.narrowed(entries), shown, "md", brief=True)
    return (
        f"{text}\n"
        "Of each row and column the preset with the most seeds, then the most updates, then the "
        f"paper's recipe. [All rows and presets, with notes and ledger](docs/{PAGE.name}).\n"
    )


def page() -> str:
    """Return the whole report, all presets of the table in one.

    The results of rows that other tables train are in it too.
    """
    table = load_table(TABLE)
    paths = shipped.files([TABLE])
    names = ", ".join(f"`results/reference/{path.name}`" for path in paths)
    text = report.render(table, recorded.under_own_names(recorded.read(paths), table), "md")
    return f"{text}\nFrom {names}, by `scripts/update_readme.py`.\n"


def progress_sentence(parts: list[progress.Progress]) -> str:
    """Return what the README says about all tables together."""
    text = progress.sentence(progress.totals(parts).counts)
    return f"{text} [Table by table](docs/{PROGRESS.name}).\n"


def progress_page(parts: list[progress.Progress]) -> str:
    """Return the states of the published values, table by table, and what the states mean."""
    head, *lines = progress.lines(parts)
    sides = ("left", *("right" for _ in head[1:]))
    table = "\n".join(markdown.table(Grid(head, tuple(lines), sides)))
    words = "\n".join(f"- **{state}**: {meaning}." for state, meaning in MEANING.items())
    return (
        "# How far the tables are\n\n"
        "Entries with a published value, by the results in `results/reference/`. An entry with "
        "runs at several presets has the first state that fits, in the order of the columns. "
        "Where a paper's recipe is not public, `preset=paper` is ours: the table's ledger says so. "
        "`vaebench ls progress` prints the same.\n\n"
        f"{table}\n\n{words}\n\nBy `scripts/update_readme.py`.\n"
    )


def main() -> None:
    """Rewrite README.md and the pages."""
    parts = progress.of_shipped()

    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = within(text, "table", rendered())
    text = within(text, "progress", progress_sentence(parts))
    readme.write_text(text, encoding="utf-8")

    PAGE.write_text(page(), encoding="utf-8")
    PROGRESS.write_text(progress_page(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
