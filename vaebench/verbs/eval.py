"""``vaebench eval RUN...``: new metrics for old checkpoints, without training."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import Interrupted, UserError, nearest
from vaebench.formatting import duration
from vaebench.results import run_files
from vaebench.verbs import results_root

if TYPE_CHECKING:
    from vaebench.running.progress import Progress

HELP = "Evaluate stored runs again, with other settings, without training; measures they have are kept."


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|key=value",
        help="run directories, or names that `vaebench ls runs` shows (all seeds, or NAME/seed-0); "
        "and settings such as eval.iw_samples=4000, eval=iw, run.device=cpu",
    )


def run(args: Namespace) -> int:
    from vaebench.config.compose import reevaluated
    from vaebench.results.store import read_note
    from vaebench.running.launchers.stop import Stop
    from vaebench.running.progress import Progress

    overrides = [a for a in args.runs if "=" in a]
    chosen = next((o.partition("=")[2] for o in reversed(overrides) if o.startswith("run.results=")), None)
    root = results_root(chosen)
    folders = [f for a in args.runs if "=" not in a for f in find(root, a)]
    if not folders:
        raise UserError("no run given: name run directories, such as those `vaebench ls runs` lists")
    asked, bad = [], 0
    for folder in dict.fromkeys(folders):
        try:
            note, seed = read_note(folder)
        except UserError as e:
            bad += _failed(e)
            continue
        asked.append((folder, note, seed, reevaluated(note["config"], overrides)))  # refused before any is evaluated
    stop = Stop()
    with stop.on_signals(), contextlib.closing(Progress([], None)) as progress:
        for folder, note, seed, config in asked:
            if stop():
                raise Interrupted("interrupted before all were evaluated; the same command goes on from here")
            try:
                try:
                    _evaluate(folder, note, seed, config, progress, stop)
                except OSError as e:  # a read-only folder, a full disk
                    raise UserError(f"{folder}: cannot be written: {e.strerror or e}") from None
            except UserError as e:
                if len(folders) == 1:
                    raise
                bad += _failed(e)  # the others need not suffer
    return 1 if bad else 0


def _failed(e: UserError) -> int:
    print(f"vaebench: {e}", file=sys.stderr)
    return 1


def find(root: Path, name: str) -> list[Path]:
    """The seed folders that ``name`` means: a path, or a run's name below ``root``; UserError when there are none."""
    from vaebench.results.store import seed_of

    for place in (Path(name), root / name):
        if (place / run_files.NOTE).is_file():
            return [place]
        seeds = {seed_of(p.parent): p.parent for p in place.glob("seed-*/config.json")}
        seeds.pop(None, None)  # a copy that somebody keeps beside them
        if seeds:
            return [seeds[n] for n in sorted(seeds)]
    known = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    raise UserError(f"no run {name!r} here or in {root}: {nearest(name, known)}")


def _evaluate(
    folder: Path,
    note: dict[str, Any],
    seed: int,
    config: dict[str, Any],
    progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    """Evaluate one run and print its measures.

    Raises UserError where it was moved, is damaged or in use, and Interrupted when ``should_stop`` says so.
    """
    from vaebench.report.costs import evaluation
    from vaebench.results.flags import of_measure
    from vaebench.results.result_file import readable_measures
    from vaebench.running.reevaluate import opened

    with opened(folder, note, seed, config) as session:
        cost = evaluation(session.store.runs(), session.cell, session.device.type)
        known = "unknown cost" if cost is None else f"about {duration(cost)}"
        progress.begin(session.who, f"{folder}: an evaluation of {known}")
        try:
            result = session.evaluate_only(progress, should_stop)[0]
        except Interrupted as e:
            raise Interrupted(f"interrupted: {e}, the same command goes on from here") from None
    print(f"{folder}: {result['status']}, {result['updates']} updates")
    for m in readable_measures(result):
        error = "" if m.error is None else f" +- {m.error:.3f} ({m.error_kind})"
        print(f"  {m.name:14} {m.value:10.3f}{error}  {m.unit:6} {m.signature}")
        for flag in of_measure(m):
            print(f"    flagged: {flag}")
