"""``vaebench eval RUN...``: new metrics for old checkpoints, without training."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.errors import Interrupted, UserError
from vaebench.formatting import duration
from vaebench.settings.defaults import results_root
from vaebench.verbs import write

if TYPE_CHECKING:
    from vaebench.running.progress import Progress
    from vaebench.running.reevaluate import Stored
    from vaebench.running.session import Session
    from vaebench.work.events import ShouldStop

HELP = "Evaluate stored runs again, with other settings, without training; measures they have are kept."


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|key=value",
        help="run directories, or names that `vaebench ls runs` shows (all seeds, or NAME/seed-0); "
        "or TABLE ROW of a shipped model, which is copied to your runs first; "
        "and settings such as eval.iw_samples=4000, eval=iw, run.device=cpu, "
        "or data=NAME for other data of the same kind and shape",
    )
    parser.add_argument(
        "--cases", type=Path, metavar="FILE.csv", help="write what is known of each case there; result.json stays"
    )


def run(args: Namespace) -> int:
    from vaebench.results import shipped_models
    from vaebench.results.store import read_note
    from vaebench.running.launchers.stop import Stop
    from vaebench.running.progress import Progress
    from vaebench.running.reevaluate import in_own_runs, stored

    words, overrides = shipped_models.names_and_settings(args.runs)
    root = results_root(dict(o.split("=", 1) for o in overrides).get("run.results"))
    folders = shipped_models.chosen(root, words, catalogue.options("table"))
    if not folders:
        raise UserError("no run given: name run directories, such as those `vaebench ls runs` lists")

    failed = []

    @contextlib.contextmanager
    def others_go_on() -> Iterator[None]:
        try:
            yield
        except UserError as e:
            if len(folders) == 1:
                raise
            print(f"vaebench: {e}", file=sys.stderr)
            failed.append(e)

    notes = []
    for folder in folders:
        with others_go_on():
            notes.append((folder, *read_note(folder)))
    # What is refused is known before any is evaluated, or copied.
    asked = [stored(*found, overrides) for found in notes]
    asked = [in_own_runs(run, root) for run in asked]

    stop = Stop()
    if args.cases is not None:
        with stop.on_signals():
            _write_cases(asked, args.cases, stop)
        return 0

    with stop.on_signals(), contextlib.closing(Progress([], None)) as progress:
        for one in asked:
            if stop():
                raise Interrupted("interrupted before all were evaluated; the same command goes on from here")
            with others_go_on():
                _evaluate(one, progress, stop)
    return 1 if failed else 0


def _write_cases(runs: Sequence[Stored], path: Path, should_stop: ShouldStop) -> None:
    """Write a line for each case of one run's evaluation.

    Raises UserError for several runs or a file that cannot be written, and Interrupted when ``should_stop`` says so.
    """
    from vaebench.report import paired
    from vaebench.running.reevaluate import opened

    if len(runs) != 1:
        raise UserError(f"--cases: {len(runs)} runs given; allowed: one, with its seed")
    (run,) = runs
    with opened(run) as session:
        try:
            places, columns = session.each_case(should_stop)
        except Interrupted:
            raise Interrupted("interrupted; nothing was written") from None
        name = f"{run.cell.key}/seed-{run.seed}"
        split = session.config["eval"]["split"]
        samples = session.config["eval"].get("iw_samples")
        text = paired.csv_text(name, session.examined.splits.hash_of(split), split, places, columns, samples)
    write(path, text)


def _evaluate(run: Stored, progress: Progress, should_stop: ShouldStop) -> None:
    """Evaluate one run and print its measures.

    Raises UserError where it was moved, is damaged, in use or cannot be written, and Interrupted when ``should_stop``
    says so.
    """
    from vaebench.results.digest import evaluations
    from vaebench.results.flags import of_measure
    from vaebench.results.result_file import readable_measures
    from vaebench.running.reevaluate import opened

    with opened(run) as session:
        progress.begin(session.who, f"{run.folder}: an evaluation {_cost(session)}")
        try:
            result = session.evaluate_only(progress, should_stop)[0]
        except Interrupted as e:
            raise Interrupted(f"interrupted: {e}, the same command goes on from here") from None

    print(f"{run.folder}: {result['status']}, {result['updates']} updates")
    groups = evaluations(readable_measures(result))
    for on, measures in groups:
        if len(groups) > 1 or on:  # an evaluation of all test cases goes without saying
            print(f"  of {on or 'all test cases'}:")
        for m in measures:
            error = "" if m.error is None else f" +- {m.error:.3f} ({m.error_kind})"
            print(f"  {m.name:14} {m.value:10.3f}{error}  {m.unit:6} {m.signature}")
            for flag in of_measure(m):
                print(f"    flagged: {flag}")


def _cost(session: Session) -> str:
    """What an evaluation will take, as far as it is known."""
    from vaebench.report.costs import evaluation
    from vaebench.results import index

    on = session.examined
    if not on.own:
        return f"on other data, {on.splits.name}"
    with index.opened(session.store) as runs:
        cost = evaluation(runs.costs([session.cell.key]), session.cell, session.device.type)
    return "of unknown cost" if cost is None else f"of about {duration(cost)}"
