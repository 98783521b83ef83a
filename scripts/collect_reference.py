"""Writes results/reference from finished runs.

Per table and preset the results, the curves, and a figure's plot.

python scripts/collect_reference.py [RESULTS_FOLDER] [--table NAME ...]
default: results/runs, all tables

Only finished, failed and diverged runs are taken, and those of finished ones that are evaluated as
the table asks: another table may have evaluated the same run by fewer samples. What the files have
of runs that are not in the folder stays, if the table still has the same training in that place; a
file without any run in the folder is left alone. Where a table is drawn as something else than
curves, its numbers are written as well, those of the first seed, if its runs are there. A figure
that is drawn from formulas needs no runs: its points and its image are written.

A run that is flagged (an impossible number, one case that decides a mean, a baseline that went
astray, a layer without KL) is not taken, and named, unless ``--flagged`` asks for it; what the
files have of it stays. Exit code 1 then.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from vaebench import files
from vaebench.config import catalogue, compose
from vaebench.config.cells import Cell, run_key, versions
from vaebench.config.tables import Figure, Table
from vaebench.report.drawn import Drawn
from vaebench.report.plots import plot, save_plot
from vaebench.report.plots.bound import collect_curves
from vaebench.report.shown import points_text
from vaebench.results import flags, long_frame, standing, store
from vaebench.results.status import Status

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
ENDED = (Status.DONE, Status.FAILED, Status.DIVERGED)


def collect(runs: store.Store, name: str, preset: str, flagged: bool = False) -> int:
    """One table at one preset.

    Returns the number of runs that were refused; ``flagged``: none is.
    """
    table = catalogue.load_table(name)
    every = compose.cells(table, catalogue.load_preset(preset))
    # These have files.
    cells = [cell for cell in every if (cell.row, cell.column) not in table.links]
    if not cells:
        return 0
    seeds = runs.seeds(cells)
    frame = runs.frame(cells, seeds)
    frame = frame[ids(frame).isin(ended_runs(runs, cells, seeds))].reset_index(drop=True)
    reasons = {} if flagged else refused(frame, table)
    for (row, column, seed), why in reasons.items():
        print(
            f"{name} preset={preset}: {row} / {column} seed {seed} not taken: {why}",
            file=sys.stderr,
        )
    frame = frame[~ids(frame).isin(list(reasons))].reset_index(drop=True)
    if not len(frame):
        return len(reasons)
    taken = ids(frame)  # another seed of the same cell may still be training
    where = REFERENCE / f"{name}-{preset}.csv"
    ended = {*zip(frame["row"], frame["column"], strict=True)}
    kept = earlier(long_frame.read_csv(where), frame, cells) if where.exists() else frame[:0]
    curves = collect_curves(runs, [c for c in cells if (c.row, c.column) in ended], seeds)
    curves = curves[ids(curves).isin(taken)].reset_index(drop=True)
    frame = in_order(pd.concat([kept, frame]) if len(kept) else frame, cells)
    long_frame.write_csv(frame, where)
    curves = write_points(REFERENCE / f"{name}-{preset}-curves.csv", curves, kept, cells)
    title = f"{table.title} ({table.where}), preset={preset}"
    image = REFERENCE / f"{name}-{preset}.png"
    if table.figure != "bound":
        first = int(frame["seed"].min())
        shown = plot(table.figure).collect(runs, cells, [first])
        shown = shown[ids(shown).isin(taken)].reset_index(drop=True)
        if len(shown):
            path = REFERENCE / f"{name}-{preset}-{table.figure}.csv"
            save_plot(
                table.figure,
                write_points(path, shown, kept[kept["seed"] == first], cells),
                image,
                title,
            )
    elif table.kind == "figure":
        save_plot("bound", curves, image, title)
    print(f"{where.name}: {len(ended)} cells")
    return len(reasons)


def ended_runs(
    runs: store.Store, cells: list[Cell], seeds: list[int]
) -> list[tuple[str, str, int]]:
    """The runs that have ended and, if they are trained, are evaluated as the cells ask."""
    return [
        (cell.row, cell.column, seed)
        for cell in cells
        for seed in seeds
        if standing.record(runs, cell, seed).status in ENDED
    ]


def refused(frame: pd.DataFrame, table: Table) -> dict[tuple[str, str, int], str]:
    """The flagged runs of a frame, (row, column, seed) -> why.

    Where the table itself compares the KL, latents that carry none are what it
    measures, and no reason.
    """
    expected = (flags.DEAD_LAYER,) if "kl" in {table.measure_of(c) for c in table.columns} else ()
    found: dict[tuple[str, str, int], list[str]] = {}
    for line in frame.itertuples():
        for flag in flags.split(line.flags):
            kind = flags.kind_of(flag)
            if kind not in expected:
                what = "training" if kind in flags.OF_RUNS else line.metric
                found.setdefault((line.row, line.column, line.seed), []).append(f"{what}: {flag}")
    return {run: "; ".join(dict.fromkeys(words)) for run, words in found.items()}


def write_points(
    path: Path, new: pd.DataFrame, kept: pd.DataFrame, cells: list[Cell]
) -> pd.DataFrame:
    """Write ``new`` and, to the digit, what the file has of the runs in ``kept``.

    Returns what it holds then.
    """
    if path.exists() and len(kept):
        old = pd.read_csv(path, dtype=str, keep_default_na=False).astype({"seed": int})
        new = in_order(pd.concat([old[ids(old).isin(ids(kept))], new]), cells)
    files.write_atomic(path, new.to_csv(index=False, lineterminator="\n"))
    return pd.read_csv(
        path, keep_default_na=False, na_values={c: [""] for c in ("train_bound", "valid_bound")}
    )


def ids(frame: pd.DataFrame) -> pd.MultiIndex:
    """What a line is of: row, column and seed."""
    return pd.MultiIndex.from_frame(frame[["row", "column", "seed"]])


def earlier(old: pd.DataFrame, new: pd.DataFrame, cells: list[Cell]) -> pd.DataFrame:
    """The lines of ``old`` of other runs than those in ``new``.

    Where a cell of the table is still trained so. Runs of an earlier version of the cell's options
    stay as long as there is none of the present one beside them.
    """
    present = {(c.row, c.column, c.key) for c in cells}
    before = {(c.row, c.column, run_key(v)) for c in cells for v in versions(c.config)} - present
    what = pd.MultiIndex.from_frame(old[["row", "column", "key"]])
    kept = old[what.isin(list(present)) & ~ids(old).isin(ids(new))]
    again = {*zip(*(pd.concat([kept, new])[name] for name in ("row", "column")), strict=True)}
    stale = old[what.isin([run for run in before if run[:2] not in again])]
    for row, column in dict.fromkeys(zip(stale["row"], stale["column"], strict=True)):
        print(f"{row} / {column}: of an earlier version, no run of the present one")
    return pd.concat([kept, stale]) if len(stale) else kept


def in_order(frame: pd.DataFrame, cells: list[Cell]) -> pd.DataFrame:
    """By the cells of the table, then by seeds; what a run has stays in its order."""
    place = {(c.row, c.column): i for i, c in reversed(list(enumerate(cells)))}
    at = [place[r, c] for r, c in zip(frame["row"], frame["column"], strict=True)]
    return (
        frame.assign(_at=at)
        .sort_values(["_at", "seed"], kind="stable")
        .drop(columns="_at")
        .reset_index(drop=True)
    )


def draw(figure: Figure) -> None:
    """A figure that is drawn from formulas."""
    drawn = Drawn(figure)
    files.write_atomic(REFERENCE / f"{figure.name}.csv", points_text([drawn]))
    files.write_atomic(REFERENCE / f"{figure.name}.png", drawn.image("png"))
    print(f"{figure.name}.csv: {len(drawn.lines)} points")


def main() -> int:
    """All presets but quick, which is for trying things out. Returns 1 where a run was refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results/runs"))
    parser.add_argument(
        "--table", nargs="+", choices=catalogue.options("table"), default=catalogue.options("table")
    )
    parser.add_argument("--flagged", action="store_true", help="take flagged runs as well")
    args = parser.parse_args()
    runs = store.Store(args.results)
    refusals = 0
    for name in args.table:
        table = catalogue.load(name)
        if isinstance(table, Figure):
            draw(table)
        for preset in catalogue.presets_of(table):
            if preset != "quick":
                refusals += collect(runs, name, preset, args.flagged)
    if refusals:
        print(f"{refusals} flagged runs were not taken; --flagged takes them", file=sys.stderr)
    return int(refusals > 0)


if __name__ == "__main__":
    sys.exit(main())
