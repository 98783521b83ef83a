"""``vaebench eval RUN...``: new metrics for stored checkpoints, without training."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import Interrupted, UserError
from vaebench.formatting import duration
from vaebench.verbs import tell, write

if TYPE_CHECKING:
    from vaebench.running.progress import Progress
    from vaebench.running.reevaluate import Stored
    from vaebench.running.session import Session
    from vaebench.work.events import ShouldStop

HELP = (
    "Evaluate stored runs again, with other settings, without training; "
    "measures they have are kept."
)


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
        "--cases",
        type=Path,
        metavar="FILE.csv",
        help="write what is known of each case there; result.json stays",
    )


def run(args: Namespace) -> int:
    from vaebench.report import paired
    from vaebench.running.launchers.stop import Stop
    from vaebench.running.progress import Progress
    from vaebench.running.reevaluate import asked_for, each_case

    # One run that fails does not keep the others from being evaluated.
    failed: list[UserError] = []

    def others_go_on(error: UserError) -> None:
        tell([str(error)])
        failed.append(error)

    stored_runs = asked_for(args.runs, others_go_on)

    stop = Stop()
    if args.cases is not None:
        if len(stored_runs) != 1:
            raise UserError(f"--cases: {len(stored_runs)} runs given; allowed: one, with its seed")
        with stop.on_signals():
            write(args.cases, paired.csv_text(*each_case(stored_runs[0], stop)))
        return 0

    with stop.on_signals(), contextlib.closing(Progress([], None)) as progress:
        for stored_run in stored_runs:
            if stop():
                raise Interrupted(
                    "interrupted before all were evaluated; the same command goes on from here"
                )
            try:
                _evaluate(stored_run, progress, stop)
            except UserError as e:
                # The only run: its error is that of the command.
                if len(stored_runs) == 1 and not failed:
                    raise
                others_go_on(e)
    return 1 if failed else 0


def _evaluate(run: Stored, progress: Progress, should_stop: ShouldStop) -> None:
    """Evaluate one run and print its measures.

    Raises UserError if the run was moved, is damaged, is in use or cannot be written, and
    Interrupted when ``should_stop`` returns True.
    """
    from vaebench.results.digest import lines
    from vaebench.running.reevaluate import opened

    with opened(run) as session:
        progress.begin(session.who, f"{run.folder}: an evaluation {_cost(session)}")
        try:
            result = session.evaluate_only(progress, should_stop)[0]
        except Interrupted as e:
            raise Interrupted(f"interrupted: {e}, the same command goes on from here") from None

    print(
        f"{run.folder}: {result['status']}, {result['updates']} updates", *lines(result), sep="\n"
    )


def _cost(session: Session) -> str:
    """Return what an evaluation will cost, in words, as far as it is known."""
    from vaebench.results.costs import stored_evaluation

    if not session.examined.own:
        return f"on other data, {session.examined.splits.name}"

    cost = stored_evaluation(session.store, session.cell, session.device.type)
    return "of unknown cost" if cost is None else f"of about {duration(cost)}"
