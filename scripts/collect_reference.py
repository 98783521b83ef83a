"""Writes results/reference from finished runs: per table and preset the results, the curves, and a figure's plot.

python scripts/collect_reference.py [RESULTS_FOLDER]        default: results/runs

Only finished, failed and diverged runs are taken; a file is rewritten whole, and one without runs is left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vaebench import compose, config, store
from vaebench.report.curves import collect_curves, plot_curves
from vaebench.verbs.report import seeds_on_disk

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
ENDED = ("done", "failed", "diverged")


def collect(runs: store.Store, name: str, preset: str) -> None:
    """One table at one preset."""
    table = config.load_table(name)
    cells = compose.cells(table, config.load_preset(preset))
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
    if table.kind == "figure":
        plot_curves(curves, REFERENCE / f"{name}-{preset}.png", f"{table.title} ({table.where}), preset={preset}")
    print(f"{where.name}: {len(ended)} cells")


def main() -> None:
    """All tables and presets but quick, which is for trying things out."""
    runs = store.Store(Path(sys.argv[1] if len(sys.argv) > 1 else "results/runs"))
    for name in config.options("table"):
        for preset in config.presets_of(config.load_table(name)):
            if preset != "quick":
                collect(runs, name, preset)


if __name__ == "__main__":
    main()
