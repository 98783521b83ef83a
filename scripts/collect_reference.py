"""Writes results/reference from finished runs: per table and preset the results, the curves, and a figure's plot.

python scripts/collect_reference.py [RESULTS_FOLDER] [--table NAME ...]        default: results/runs, all tables

Only finished, failed and diverged runs are taken; a file is rewritten whole, and one without runs is left alone.
Where a table is drawn as something else than curves, its numbers are written as well, those of the first seed.
A figure that is drawn from formulas needs no runs: its points and its image are written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vaebench import catalogue, compose, config, store
from vaebench.report import drawn
from vaebench.report.plots import plot, save_plot
from vaebench.report.plots.bound import collect_curves
from vaebench.verbs.report import seeds_on_disk

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
ENDED = ("done", "failed", "diverged")


def collect(runs: store.Store, name: str, preset: str) -> None:
    """One table at one preset."""
    table = catalogue.load_table(name)
    cells = compose.cells(table, catalogue.load_preset(preset))
    seeds = seeds_on_disk(runs, cells)
    frame = runs.frame(cells, seeds)
    frame = frame[frame["status"].isin(ENDED)].reset_index(drop=True)
    if not len(frame):
        return
    where = REFERENCE / f"{name}-{preset}.csv"
    store.write_csv(frame, where)
    ended = {(r, c) for r, c in zip(frame["row"], frame["column"], strict=True)}
    curves = collect_curves(runs, [c for c in cells if (c.row, c.column) in ended], seeds)
    store.write_atomic(REFERENCE / f"{name}-{preset}-curves.csv", curves.to_csv(index=False, lineterminator="\n"))
    title = f"{table.title} ({table.where}), preset={preset}"
    if table.figure != "bound":
        shown = plot(table.figure).collect(runs, cells, seeds[:1])
        if len(shown):
            text = shown.to_csv(index=False, lineterminator="\n")
            store.write_atomic(REFERENCE / f"{name}-{preset}-{table.figure}.csv", text)
            save_plot(table.figure, shown, REFERENCE / f"{name}-{preset}.png", title)
    elif table.kind == "figure":
        save_plot("bound", curves, REFERENCE / f"{name}-{preset}.png", title)
    print(f"{where.name}: {len(ended)} cells")


def draw(table: config.Table) -> None:
    """A figure that is drawn from formulas."""
    points = drawn.points(table)
    store.write_atomic(REFERENCE / f"{table.name}.csv", drawn.csv_text(points))
    store.write_atomic(REFERENCE / f"{table.name}.png", drawn.image(table, points, "png"))
    print(f"{table.name}.csv: {len(points)} points")


def main() -> None:
    """All presets but quick, which is for trying things out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results/runs"))
    parser.add_argument("--table", nargs="+", choices=catalogue.options("table"), default=catalogue.options("table"))
    args = parser.parse_args()
    runs = store.Store(args.results)
    for name in args.table:
        table = catalogue.load_table(name)
        if table.drawn:
            draw(table)
        for preset in catalogue.presets_of(table):
            if preset != "quick":
                collect(runs, name, preset)


if __name__ == "__main__":
    main()
