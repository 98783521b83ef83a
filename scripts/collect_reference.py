"""Writes results/reference from finished runs.

Per table and preset the results, the curves, and a figure's plot.

python scripts/collect_reference.py [RESULTS_FOLDER] [--table NAME ...]
default: results/runs, all tables

Only finished, failed and diverged runs are taken. A finished run must be evaluated as the table
asks, since another table may have evaluated it by fewer samples. What such another evaluation has
measured stays with the table that asks for it. What the files hold of runs that
are not in the folder stays, if the table still has the same training in that place. A file without
any run in the folder is left alone. If a table is drawn as something other than curves, the numbers
of that plot are written too, for the first seed. A figure that is drawn from formulas needs no
runs: its points and its image are written.

A flagged run (an impossible number, one example that decides a mean, a baseline that went astray, a
layer without KL) is named and not taken, unless ``--flagged`` asks for it. What the files hold of
it stays. The exit code is then 1.
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
    """Write the files of one table at one preset.

    Returns the number of runs that were refused. With ``flagged`` none is.
    """
    table = catalogue.load_table(name)
    all_cells = compose.cells(table, catalogue.load_preset(preset))
    # Linked entries are trained by another table, whose files hold them.
    cells = [cell for cell in all_cells if (cell.row, cell.column) not in table.links]
    if not cells:
        return 0

    seeds = runs.seeds(cells)
    frame = runs.frame(cells, seeds)
    frame = frame[frame["extra"].map(long_frame.as_asked).astype(bool)]
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

    # By run, not by cell: another seed of the same cell may still be training.
    taken_runs = ids(frame)
    csv_path = REFERENCE / f"{name}-{preset}.csv"
    ended_entries = {*zip(frame["row"], frame["column"], strict=True)}
    kept = earlier(long_frame.read_csv(csv_path), frame, cells) if csv_path.exists() else frame[:0]
    curves = collect_curves(runs, [c for c in cells if (c.row, c.column) in ended_entries], seeds)
    # The curves of the ``kept`` runs, which are not in the folder, stay as the file has them.
    curves = curves[ids(curves).isin(taken_runs)].reset_index(drop=True)
    frame = in_order(pd.concat([kept, frame]) if len(kept) else frame, cells)
    long_frame.write_csv(frame, csv_path)
    curves = write_points(REFERENCE / f"{name}-{preset}-curves.csv", curves, kept, cells)

    title = f"{table.title} ({table.where}), preset={preset}"
    image_path = REFERENCE / f"{name}-{preset}.png"
    if table.figure != "bound":
        # A plot other than that of the bound shows the first seed alone.
        first_seed = int(frame["seed"].min())
        points = plot(table.figure).collect(runs, cells, [first_seed])
        points = points[ids(points).isin(taken_runs)].reset_index(drop=True)
        if len(points):
            path = REFERENCE / f"{name}-{preset}-{table.figure}.csv"
            save_plot(
                table.figure,
                write_points(path, points, kept[kept["seed"] == first_seed], cells),
                image_path,
                title,
            )
    elif table.kind == "figure":
        save_plot("bound", curves, image_path, title)
    print(f"{csv_path.name}: {len(ended_entries)} cells")
    return len(reasons)


def ended_runs(
    runs: store.Store, cells: list[Cell], seeds: list[int]
) -> list[tuple[str, str, int]]:
    """Return the runs that have ended and, if they are trained, are evaluated as the cells ask."""
    return [
        (cell.row, cell.column, seed)
        for cell in cells
        for seed in seeds
        if standing.record(runs, cell, seed).status in ENDED
    ]


def refused(frame: pd.DataFrame, table: Table) -> dict[tuple[str, str, int], str]:
    """Return the flagged runs of a frame, (row, column, seed) -> why.

    In a table that compares the KL, a layer without KL is a result and no reason to refuse.
    """
    expected = (flags.DEAD_LAYER,) if "kl" in {table.measure_of(c) for c in table.columns} else ()
    reasons: dict[tuple[str, str, int], list[str]] = {}
    for line in frame.itertuples():
        for flag in flags.split(line.flags):
            kind = flags.kind_of(flag)
            if kind not in expected:
                part = "training" if kind in flags.OF_RUNS else line.metric
                reasons.setdefault((line.row, line.column, line.seed), []).append(f"{part}: {flag}")
    return {run: "; ".join(dict.fromkeys(texts)) for run, texts in reasons.items()}


def write_points(
    path: Path, new: pd.DataFrame, kept: pd.DataFrame, cells: list[Cell]
) -> pd.DataFrame:
    """Write ``new`` and, to the digit, what the file has of the runs in ``kept``.

    Returns what it holds then.
    """
    # The old lines are read as texts, so that no number is rounded on the way.
    if path.exists() and len(kept):
        old = pd.read_csv(path, dtype=str, keep_default_na=False).astype({"seed": int})
        new = in_order(pd.concat([old[ids(old).isin(ids(kept))], new]), cells)
    files.write_atomic(path, new.to_csv(index=False, lineterminator="\n"))
    # Only a missing bound is NaN; an empty text in another column stays an empty text.
    return pd.read_csv(
        path, keep_default_na=False, na_values={c: [""] for c in ("train_bound", "valid_bound")}
    )


def ids(frame: pd.DataFrame) -> pd.MultiIndex:
    """Return the run of each line: row, column and seed."""
    return pd.MultiIndex.from_frame(frame[["row", "column", "seed"]])


def earlier(old: pd.DataFrame, new: pd.DataFrame, cells: list[Cell]) -> pd.DataFrame:
    """Return the lines of ``old`` that stay beside those of ``new``.

    They are of other runs, and a cell of the table is still trained so. Runs of an earlier version
    of the cell's options stay as long as the cell has no run of the present version.
    """
    # Runs by (row, column, key): of the cells as they are, and as they were with earlier versions
    # of their options.
    present_keys = {(c.row, c.column, c.key) for c in cells}
    earlier_keys = {
        (c.row, c.column, run_key(v)) for c in cells for v in versions(c.config)
    } - present_keys
    keys = pd.MultiIndex.from_frame(old[["row", "column", "key"]])

    kept = old[keys.isin(list(present_keys)) & ~ids(old).isin(ids(new))]
    # Earlier runs stay only for entries (row, column) that would have none otherwise.
    entries_now = {*zip(*(pd.concat([kept, new])[name] for name in ("row", "column")), strict=True)}
    stale = old[keys.isin([run for run in earlier_keys if run[:2] not in entries_now])]
    for row, column in dict.fromkeys(zip(stale["row"], stale["column"], strict=True)):
        print(f"{row} / {column}: of an earlier version, no run of the present one")
    return pd.concat([kept, stale]) if len(stale) else kept


def in_order(frame: pd.DataFrame, cells: list[Cell]) -> pd.DataFrame:
    """Sort by the cells of the table, then by seeds; the lines of a run stay in their order."""
    # Reversed, so that the first of several cells with the same row and column counts.
    place = {(c.row, c.column): i for i, c in reversed(list(enumerate(cells)))}
    cell_number = [place[r, c] for r, c in zip(frame["row"], frame["column"], strict=True)]
    return (
        frame.assign(_at=cell_number)
        .sort_values(["_at", "seed"], kind="stable")
        .drop(columns="_at")
        .reset_index(drop=True)
    )


def draw(figure: Figure) -> None:
    """Write the points and the image of a figure that is drawn from formulas."""
    drawn = Drawn(figure)
    files.write_atomic(REFERENCE / f"{figure.name}.csv", points_text([drawn]))
    files.write_atomic(REFERENCE / f"{figure.name}.png", drawn.image("png"))
    print(f"{figure.name}.csv: {len(drawn.lines)} points")


def main() -> int:
    """Collect all presets but quick, which is for trying things out.

    Returns 1 if a run was refused.
    """
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
