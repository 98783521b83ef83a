"""``vaebench report table=NAME``: what was measured beside what was published."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.config.cells import PLOTS
from vaebench.errors import UserError, nearest
from vaebench.report import FORMATS
from vaebench.verbs import add_overrides, nothing_to_set, only_keys, results_root, streams, write, wrote

if TYPE_CHECKING:
    import pandas as pd

    from vaebench.config.cells import Cell, Preset, Table
    from vaebench.config.compose import Selection
    from vaebench.results.store import Store

HELP = (
    "Print a table with the stored results beside the published numbers, and a verdict where one may be given.\n"
    "A figure of formulas alone is computed anew."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "table=NAME, preset=NAME, run.results=DIR, and the settings the runs were made with")
    parser.add_argument("--only", action="append", default=[], metavar="row=NAME", help="these rows or columns only")
    parser.add_argument("--seeds", metavar="0-4", help="these seeds only; default: all that are found")
    parser.add_argument("--format", default="text", metavar="FORMAT", help=f"{', '.join(FORMATS)} (csv: every measure)")
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="CSV",
        help="read results from a CSV instead of the runs; several are read together; reference: the results shipped",
    )
    parser.add_argument("--brief", action="store_true", help="the table and its marks, without the other notes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to the terminal")
    parser.add_argument("--curves", type=Path, metavar="FILE.csv", help="write the curves, or what a figure shows")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them (png, svg or pdf)")
    parser.add_argument("--figure", metavar="NAME", help=f"{', '.join(PLOTS)}; default: the table's")


def run(args: Namespace) -> int:
    from vaebench.config.compose import parse, picked
    from vaebench.report import recorded

    selection = parse(args.overrides)
    if args.format not in FORMATS:
        raise UserError(f"unknown format {args.format!r}: {nearest(args.format, FORMATS)}")
    if len(selection.tables) > 1 and (args.format == "html" or args.plot):
        raise UserError("--format html and --plot take one table at a time")
    if args.figure is not None:
        from vaebench.report.plots import plot

        plot(args.figure)
        if not (args.plot or args.curves):
            raise UserError("--figure: says what --plot draws and --curves writes; give one of them")
    tables = [catalogue.load_table(name) for name in selection.tables]
    if args.figure is None and len({t.figure for t in tables}) > 1 and args.curves:
        raise UserError("--curves of tables with different figures: one table at a time, or say which with --figure")
    drawn = [t for t in tables if t.drawn]
    if drawn:
        _check_drawn(tables, drawn, selection, args)
    trained = replace(selection, tables=tuple(t.name for t in tables if not t.drawn))
    if args.sources:
        given = only_keys(args.overrides, ["table", "preset"], "report --from")
        presets = [selection.preset] if "preset" in given else None
        args.sources = recorded.in_place(args.sources, trained.tables, presets)
        everything = recorded.read(args.sources)
        frames = _from_csv(trained, everything, "preset" in given, args)
        curves = _beside(tables, everything, frames, args) if args.curves or args.plot else None
        if args.only:
            tables = [t.narrowed(picked(t, args.only)) for t in tables]
    else:
        cells = _cells(tables, selection, args)
        frames, curves = _from_runs(tables, cells, selection, args)
        if args.only:
            tables = [t if t.drawn else t.narrowed((c.row, c.column) for c in cells[t.name]) for t in tables]
    if curves is not None and args.curves:
        write(args.curves, curves.to_csv(index=False, lineterminator="\n"))
    if curves is not None and args.plot:
        from vaebench.report.plots import save_plot

        save_plot(_figure(tables[0], args), curves, args.plot, tables[0].title)
        wrote(args.plot)
    if drawn and (args.curves or args.plot):
        _write_drawn(drawn[0], args)
    text = _rendered(tables, frames, args)
    if args.output is None:
        sys.stdout.write(text)
    else:
        write(args.output, text)
    return 0


def _figure(table: Table, args: Namespace) -> str:
    """What the runs of a table are drawn as."""
    return args.figure or table.figure


def _check_drawn(tables: list[Table], drawn: list[Table], selection: Selection, args: Namespace) -> None:
    names = ", ".join(t.name for t in drawn)
    if args.figure is not None:
        raise UserError(f"{names}: drawn from formulas, there is one figure of it; leave out --figure")
    if drawn == tables:
        nothing_to_set(drawn, selection.overrides, args)
    if args.sources:
        raise UserError(f"{names}: drawn from formulas, without results to read; leave out --from")
    if len(tables) > 1 and (args.curves or args.format == "csv"):
        raise UserError(f"{names}: the CSV of a drawn figure has columns of its own; one table at a time")


def _write_drawn(table: Table, args: Namespace) -> None:
    from vaebench.report import drawn
    from vaebench.report.images import kind_of

    points, kind = drawn.points(table), kind_of(args.plot) if args.plot else ""
    if args.curves:
        write(args.curves, drawn.csv_text(points))
    if args.plot:
        write(args.plot, drawn.image(table, points, kind))


def _rendered(tables: list[Table], frames: list[pd.DataFrame], args: Namespace) -> str:
    """The pages of the tables; ``frames``: one for each that is trained. A note stands on the first that needs it."""
    from vaebench import report
    from vaebench.report import drawn
    from vaebench.report.layout import View

    if args.format == "csv" and frames:
        return report.render(tables[0], _joined(frames), args.format)
    view = View(args.brief, streams.width() if args.output is None else None)
    rest, texts = iter(frames), []
    for table in tables:
        if table.drawn:
            shown = replace(table, notes=(), ledger=()) if args.brief else table
            texts.append(drawn.render(shown, drawn.points(table), args.format))
        else:
            texts.append(report.render(table, next(rest), args.format, view))
    return "\n\n".join(text.rstrip("\n") for text in texts) + "\n"


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _beside(tables: list[Table], everything: pd.DataFrame, frames: list[pd.DataFrame], args: Namespace) -> pd.DataFrame:
    """What the figures of the tables show of the rows in ``frames``, from the files beside the results."""
    from vaebench.report import recorded

    parts = [
        recorded.points(_figure(table, args), args.sources, everything, frame)
        for table, frame in zip(tables, frames, strict=True)
    ]
    return _joined(parts)


def _from_csv(selection: Selection, everything: pd.DataFrame, of_preset: bool, args: Namespace) -> list[pd.DataFrame]:
    """For each table its rows of ``everything``: of one preset, of some seeds, of some entries if those were asked for.

    Raises UserError where that leaves nothing; rows of which the table knows nothing are named on stderr.
    """
    from vaebench.config.compose import picked, seeds

    sources, frames = ", ".join(args.sources), []
    for name in selection.tables:
        whole, table = everything[everything["table"] == name], catalogue.load_table(name)
        if not len(whole):
            tables = sorted(set(everything["table"]))
            raise UserError(f"{sources}: no rows of table {name}; {nearest(name, tables)}")
        frame = whole
        if of_preset:
            frame = frame[frame["preset"] == selection.preset]
        if args.seeds is not None:
            chosen = seeds(table, catalogue.load_preset(selection.preset), args.seeds)
            frame = frame[frame["seed"].isin(chosen)]
        if args.only:
            chosen = set(picked(table, args.only))
            frame = frame[[pair in chosen for pair in zip(frame["row"], frame["column"], strict=True)]]
        if not len(frame):
            what = "choice, preset and seeds" if args.only else "preset and seeds"
            raise UserError(f"{sources}: nothing of table {name} by that {what}; there are {_contents(whole)}")
        entries = set(table.trained())
        strange = sorted({(r, c) for r, c in zip(frame["row"], frame["column"], strict=True)} - entries)
        if strange:
            names = "; ".join(f"{r} / {c}" for r, c in strange)
            print(f"vaebench: {sources}: left out, since table {name} has no such entry: {names}", file=sys.stderr)
        frames.append(frame.reset_index(drop=True))
    return frames


def _contents(frame: pd.DataFrame) -> str:
    """``preset short: seeds 0, 1; preset tuned: seed 0``."""
    parts = []
    for preset, part in frame.groupby("preset", sort=False):
        found = sorted(set(part["seed"]))
        parts.append(f"preset {preset}: seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}")
    return "; ".join(parts)


def _cells(tables: list[Table], selection: Selection, args: Namespace) -> dict[str, list[Cell]]:
    """The cells of each trained table that were asked for, by its name."""
    from vaebench.config.compose import cells

    preset = catalogue.load_preset(selection.preset)
    return {t.name: cells(t, preset, selection.overrides, args.only) for t in tables if not t.drawn}


def _from_runs(
    tables: list[Table], cells: dict[str, list[Cell]], selection: Selection, args: Namespace
) -> tuple[list[pd.DataFrame], pd.DataFrame | None]:
    """For each trained table the long frame of its cells, and the training curves of all if they are wanted."""
    from vaebench.config.compose import seeds
    from vaebench.results.rekey import found_outdated, of_earlier_version
    from vaebench.results.store import Store

    preset = catalogue.load_preset(selection.preset)
    frames, curves = [], []
    for table in tables:
        if table.drawn:
            continue
        chosen = cells[table.name]
        store = Store(chosen[0].config["run"]["results"])
        wanted = store.seeds(chosen) if args.seeds is None else seeds(table, preset, args.seeds)
        frame = store.frame(chosen, wanted)
        lacking = {c.key: None for c in chosen if not store.run_dir(c.key, 0).parent.exists()}
        notices = (found_outdated(store, lacking), of_earlier_version(store, chosen))
        for line in (*filter(None, notices), *_missed(store, table, preset, chosen, len(frame) > 0)):
            print(f"vaebench: {line}", file=sys.stderr)
        frames.append(frame)
        if args.curves or args.plot:
            from vaebench.report.plots import plot

            curves.append(plot(_figure(table, args)).collect(store, chosen, wanted))
    return frames, _joined(curves) if curves else None


def _missed(store: Store, table: Table, preset: Preset, cells: list[Cell], found: bool) -> Iterator[str]:
    """That there are no runs, and which others there are: those whose settings were changed, and other presets."""
    from vaebench.report import other_runs

    others = other_runs.of_table(store, table.name, {cell.key for cell in cells})
    if found:
        others = [o for o in others if o.preset == preset.name and o.changed != cells[0].changed]
    else:
        yield (
            f"no runs of {table.name} with preset={preset.name} in {store.root}; "
            f"vaebench run table={table.name} preset={preset.name} makes them"
        )
    kept = [f"run.results={store.root}"] if str(store.root) != str(results_root()) else []
    yield from other_runs.lines(table.name, others, kept)
