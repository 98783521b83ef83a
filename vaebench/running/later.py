"""The time limit of a command, and what it says of runs that are not finished by then."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from vaebench.results.status import Status
from vaebench.running import tasks as work
from vaebench.running.execute import Plan
from vaebench.running.launchers import Launched
from vaebench.running.tasks import Outcome
from vaebench.settings import options


def end_of(minutes: float | None) -> float:
    """Return the moment in so many minutes, as ``time.monotonic`` counts; infinity for None.

    Raises:
        UserError: If ``minutes`` is not a valid time.
    """
    if minutes is None:
        return math.inf
    return time.monotonic() + 60 * float(
        options.MINUTES.check("--minutes", minutes, f"--minutes {minutes}")
    )


def told(
    plan: Plan, launched: Launched, minutes: float | None, same: str, evaluates: str
) -> list[str]:
    """Return a line if the time was over too early, and one if runs wait for their evaluation.

    Args:
        plan: What was asked for.
        launched: Its outcome.
        minutes: The time that was given.
        same: What continues the work, such as "the same command".
        evaluates: What evaluates, such as "the same command without --no-eval".
    """
    lines = []
    remain = left(plan, launched.outcomes)
    if launched.late and remain:
        runs = sum(len(seeds) for _, seeds in plan.todo)
        time_is_over = f"{minutes:g} minutes are over, the state is saved"
        lines.append(f"{time_is_over}: {remain} of {runs} runs left; {same} goes on from here")

    trained = 0 if plan.evaluate else _trained(plan, launched.outcomes)
    if trained:
        which, them = ("1 run", "it") if trained == 1 else (f"{trained} runs", "them")
        lines.append(f"trained and not evaluated: {which}; {evaluates} evaluates {them}")
    return lines


def left(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    """Return how many runs of a plan have not ended."""
    ended = {
        (work.unit(outcome.task.cell), outcome.seed)
        for outcome in outcomes
        if outcome.status.ends(plan.evaluate) or outcome.status.bad
    }
    return sum((work.unit(cell), seed) not in ended for cell, seeds in plan.todo for seed in seeds)


def _trained(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    """Return how many runs are trained and not evaluated, also those of earlier commands."""
    # What is known from before, overwritten by what this command did.
    statuses = {(asked.cell.key, asked.seed): asked.known.status for asked in plan.asked}
    statuses |= {(outcome.task.cell.key, outcome.seed): outcome.status for outcome in outcomes}
    return sum(status is Status.TRAINED for status in statuses.values())
