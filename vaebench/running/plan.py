"""The plan of a command: the cells, what is done of them, and what the rest will cost.

``run --dry-run`` shows all of it; a ``run`` of hours begins with the last line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from vaebench.config.cells import readable
from vaebench.formatting import aligned, duration
from vaebench.results import index
from vaebench.results.costs import estimate, evaluation
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running import tasks as runner
from vaebench.running.execute import Asked, Plan, device_kind

LONG = 3600.0
"""From so many seconds on, a command says at its start what is left to do."""


def describe(plan: Plan, force: bool, shipped: Iterable[dict[str, Any]]) -> str:
    """Describe a plan: a line for each cell, then what is left to do and what it will cost.

    Data whose files are not on this machine have a line as well.

    Args:
        plan: What is asked for, and what is known of it.
        force: Whether finished runs are to be run again.
        shipped: The cost of the runs of the shipped results, besides those of the store.
    """
    work = _Work(plan, force, shipped)
    lines: list[str] = []
    for name, of_table in groupby(work.cells, lambda part: part[0][0].cell.table):
        rows = [("row", "column", "seeds", "status", "updates", "time per seed")]
        for asked, cost in of_table:
            cell = asked[0].cell
            rows.append((cell.row, cell.column, *_told(asked), _time(cost)))
        lines.append(f"{name} preset={cell.preset}\n{aligned(rows, '  ')}")

    return "\n".join([*lines, *_to_fetch(plan), f"to do: {work}"])


def announced(plan: Plan, force: bool, shipped: Iterable[dict[str, Any]]) -> str:
    """Return a line for the user if what is left is known to take hours, else ''.

    Arguments as of ``describe``.
    """
    work = _Work(plan, force, shipped)
    if work.training + work.evaluation < LONG:
        return ""
    return f"to do: {work}; --dry-run says what each row takes"


def _to_fetch(plan: Plan) -> list[str]:
    """Return a line for each data set of the open runs whose files are not on this machine."""
    from vaebench import data

    data_settings = [cell.config["data"] for cell, _ in plan.todo]
    wanted_sets = {(config["name"], config.get("mirror")) for config in data_settings}
    # A data set may be wanted with several mirrors, each of which may have its files.
    status_by_name = {
        status.name: status
        for mirror in {mirror for _, mirror in wanted_sets}
        for status in data.status(mirror)
        if (status.name, mirror) in wanted_sets and not status.prepared and status.missing
    }
    lines = []
    for name, status in sorted(status_by_name.items()):
        # Files that cannot be fetched must come from the user.
        to_supply = [file for file in status.missing if file in status.supplied]
        advice = "so fetched first"
        if to_supply:
            advice = "and to be supplied: name their folder in data.mirror or VAEBENCH_MIRROR"
        files = ", ".join(to_supply or status.missing)
        lines.append(f"data {name}: not on this machine, {advice}: {files}")
    return lines


class _Work:
    """What a plan leaves to do, added up over its cells.

    Args:
        plan: What is asked for, and what is known of it.
        force: Whether finished runs are to be run again.
        shipped: The cost of the runs of the shipped results, besides those of the store.

    Attributes:
        cells: The runs of each cell, and the seconds that one of its seeds takes; None if nothing
            like it is recorded.
        training: Seconds of one process for the runs whose cost is known, with their evaluations.
        evaluation: Seconds for the evaluations of runs that are trained already.
    """

    def __init__(self, plan: Plan, force: bool, shipped: Iterable[dict[str, Any]]) -> None:
        self.plan = plan
        self.force = force
        self.training = 0.0
        self.evaluation = 0.0
        self._recorded = _recorded(plan, shipped)
        self._counted: dict[tuple[Any, int], str] = {}
        self.cells = [(asked, self._take(asked)) for asked in _by_cell(plan.asked)]

    def _take(self, asked: Sequence[Asked]) -> float | None:
        """Add the runs of one cell, and return the seconds that a seed of it takes, if known."""
        cell = asked[0].cell
        evaluate = self.plan.evaluate
        open_ = self.force or any(not run.known.status.ends(evaluate) for run in asked)

        # Finished cells report their recorded cost, wherever they ran. Only unfinished ones need
        # the device, for which torch may have to be loaded.
        kind = device_kind(cell.run) if open_ else ""
        alike = self._recorded.get(readable(cell.key), [])
        cost = estimate(alike, cell, kind, evaluate)

        # Tables may share runs, so each training and each evaluation is counted once.
        for run in asked:
            share = 1.0 if self.force else _left(self.plan.store, run)
            if share and (cell.key, run.seed) not in self._counted:
                self._counted[cell.key, run.seed] = "unknown" if cost is None else "known"
                self.training += (cost or 0.0) * share
            # Trained already, and not evaluated by these settings.
            elif (
                not share
                and not run.known.status.ends(evaluate)
                and (runner.unit(cell), run.seed) not in self._counted
            ):
                seconds = evaluation(alike, cell, kind)
                self._counted[runner.unit(cell), run.seed] = (
                    "evaluation" if seconds else "evaluation of unknown cost"
                )
                self.evaluation += seconds or 0.0
        return cost

    def __str__(self) -> str:
        return _to_do(
            list(self._counted.values()), duration(self.training), duration(self.evaluation)
        )


def _by_cell(asked: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Group the runs that are asked for by cell; those of a cell follow one another."""
    for _, group in groupby(asked, lambda run: id(run.cell)):
        yield list(group)


def _told(asked: Sequence[Asked]) -> tuple[str, str, str]:
    """Return the seeds of a cell, how many have which status, and its budget, in words."""
    budget = asked[0].cell.train
    unit = "" if budget.unit == "updates" else f" {budget.unit}"
    statuses = [run.known.status for run in asked]
    count = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return ",".join(str(run.seed) for run in asked), count, f"{budget.updates}{unit}"


def _time(cost: float | None) -> str:
    return "?" if cost is None else duration(cost)


def _recorded(plan: Plan, shipped: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return what is recorded of runs with the data, model and objective of a cell.

    The records are grouped by the part of the key that names these three.
    """
    results = {
        (asked.cell.key, asked.seed): asked.known.result
        for asked in plan.asked
        if asked.known.result
    }
    # Results that the plan has read already need not be read again.
    with index.opened(plan.store, results) as runs:
        here = runs.costs([asked.cell.key for asked in plan.asked])

    by_name: dict[str, list[dict[str, Any]]] = {}
    for record in (*here, *shipped):
        by_name.setdefault(readable(record["key"]), []).append(record)
    return by_name


def _to_do(costs: list[str], known: str, evaluations: str) -> str:
    """Say what is left to do.

    ``costs`` has a word for each run: 'known' or 'unknown' for its cost, 'evaluation' or
    'evaluation of unknown cost'. ``known`` and ``evaluations`` are the times of those whose cost is
    known.
    """

    def several(kind: str, words: str) -> list[str]:
        count = costs.count(kind)
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
