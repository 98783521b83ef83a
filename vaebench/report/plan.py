"""The plan of a command (``run --dry-run``).

It shows the cells, what is done of them, and what the rest will cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from vaebench.config.cells import readable
from vaebench.formatting import aligned, duration
from vaebench.report.costs import estimate, evaluation
from vaebench.results import index
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running import tasks as runner
from vaebench.running.execute import Asked, Plan, device_kind


def describe(plan: Plan, force: bool, shipped: Iterable[dict[str, Any]]) -> str:
    """Describe a plan: a line for each cell, then what is left to do and what it will cost.

    Args:
        plan: What is asked for, and what is known of it.
        force: Whether finished runs are to be run again.
        shipped: The cost of the runs of the shipped results, besides those of the store.
    """
    recorded = _recorded(plan, shipped)
    known_total = 0.0
    evaluations = 0.0
    counted: dict[tuple[Any, int], str] = {}
    lines: list[str] = []
    for name, of_table in groupby(plan.asked, lambda asked: asked.cell.table):
        rows = [("row", "column", "seeds", "status", "updates", "time per seed")]
        for _, group in groupby(of_table, lambda asked: id(asked.cell)):
            asked = list(group)
            cell = asked[0].cell
            open_ = force or any(not a.known.status.ends(plan.evaluate) for a in asked)

            # Finished cells report their recorded cost, wherever they ran; only
            # unfinished ones need torch.
            kind = device_kind(cell.run) if open_ else ""
            alike = recorded.get(readable(cell.key), [])
            cost = estimate(alike, cell, kind, plan.evaluate)

            # Tables may share runs, so each training and each evaluation is counted once.
            for a in asked:
                share = 1.0 if force else _left(plan.store, a)
                if share and (cell.key, a.seed) not in counted:
                    counted[cell.key, a.seed] = "unknown" if cost is None else "known"
                    known_total += (cost or 0.0) * share
                elif (
                    not share
                    and not a.known.status.ends(plan.evaluate)
                    and (runner.unit(cell), a.seed) not in counted
                ):
                    seconds = evaluation(alike, cell, kind)
                    counted[runner.unit(cell), a.seed] = (
                        "evaluation" if seconds else "evaluation of unknown cost"
                    )
                    evaluations += seconds or 0.0

            budget = cell.train
            updates = (
                str(budget.updates)
                if budget.unit == "updates"
                else f"{budget.updates} {budget.unit}"
            )
            states = [a.known.status for a in asked]
            count = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
            seeds = ",".join(str(a.seed) for a in asked)
            rows.append(
                (
                    cell.row,
                    cell.column,
                    seeds,
                    count,
                    updates,
                    "?" if cost is None else duration(cost),
                )
            )
        lines.append(f"{name} preset={cell.preset}\n{aligned(rows, '  ')}")

    left = _to_do(list(counted.values()), duration(known_total), duration(evaluations))
    return "\n".join([*lines, f"to do: {left}"])


def _recorded(plan: Plan, shipped: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return what is recorded of runs with the data, model and objective of a cell.

    The records are grouped by the part of the key that names these three.
    """
    known = {
        (asked.cell.key, asked.seed): asked.known.result
        for asked in plan.asked
        if asked.known.result
    }
    with index.opened(plan.store, known) as runs:
        here = runs.costs(asked.cell.key for asked in plan.asked)

    found: dict[str, list[dict[str, Any]]] = {}
    for record in (*here, *shipped):
        found.setdefault(readable(record["key"]), []).append(record)
    return found


def _to_do(runs: list[str], known: str, evaluations: str) -> str:
    """Say what is left to do.

    ``runs`` has a word for each run: 'known' or 'unknown' for its cost, 'evaluation' or 'evaluation
    of unknown cost'. ``known`` and ``evaluations`` are the times of those whose cost is known.
    """

    def several(kind: str, words: str) -> list[str]:
        count = runs.count(kind)
        plural, them = ("", "it") if count == 1 else ("s", "them")
        return [words.format(count=count, s=plural, them=them)] if count else []

    parts = several("known", f"about {known} of one process for {{count}} run{{s}}")
    parts += several("unknown", "{count} run{s} of unknown cost (nothing like {them} is recorded)")
    parts += several(
        "evaluation", f"the evaluation of {{count}} trained run{{s}} (about {evaluations})"
    )
    parts += several(
        "evaluation of unknown cost", "the evaluation of {count} trained run{s} (of unknown cost)"
    )
    return ", and ".join(parts) or "nothing"


def _left(store: Store, asked: Asked) -> float:
    """Return the share of a run's training still to be done, by its status and its curve."""
    if asked.known.status.finished or asked.known.status is Status.TRAINED:
        return 0.0
    return 1.0 - runner.share_done(store, asked.cell, asked.seed)
