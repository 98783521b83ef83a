"""What a command would do: its cells, what is done of them, and what the rest will take (``run --dry-run``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vaebench.config.cells import Cell, Table
from vaebench.formatting import aligned, duration
from vaebench.report.costs import estimate, evaluation, reference_records
from vaebench.results.store import Store
from vaebench.running import tasks as runner
from vaebench.running.execute import device_of


def describe(
    store: Store, tables: Sequence[Table], chosen: dict[str, list[Cell]], wanted: dict[str, list[int]], force: bool
) -> str:
    """The plan of a command: a line for each cell, then what is left to do and what it will take.

    Args:
        store: where the runs are kept.
        tables: the tables asked for.
        chosen: the cells of each, by its name.
        wanted: the seeds of each, by its name.
        force: whether finished runs are to be run again.
    """
    recorded = [*store.runs(), *reference_records()]
    known_total = 0.0
    evaluations = 0.0
    counted: dict[tuple[Any, int], str] = {}
    lines: list[str] = []
    for t in tables:
        rows = [("row", "column", "seeds", "status", "updates", "time per seed")]
        for cell in chosen[t.name]:
            states = {s: runner.status(store, cell, s) for s in wanted[t.name]}
            open_ = force or any(state not in runner.FINISHED for state in states.values())
            # What nothing is left of has its own cost, wherever it ran, and is told without torch.
            kind = device_of(cell.config["run"]["device"]).partition(":")[0] if open_ else ""
            budget = cell.config["train"]
            cost = estimate(recorded, cell, kind)
            updates = budget["updates"] if budget["unit"] == "updates" else f"{budget['updates']} {budget['unit']}"
            for s, state in states.items():
                left = 1.0 if force else _left(store, cell, s, state)
                if left and (cell.key, s) not in counted:  # tables may share runs
                    counted[cell.key, s] = "unknown" if cost is None else "known"
                    known_total += (cost or 0.0) * left
                elif not left and state not in runner.FINISHED and (runner.unit(cell), s) not in counted:
                    seconds = evaluation(recorded, cell, kind)
                    counted[runner.unit(cell), s] = "evaluation" if seconds else "evaluation of unknown cost"
                    evaluations += seconds or 0.0
            found = list(states.values())
            count = ", ".join(f"{found.count(s)} {s}" for s in dict.fromkeys(found))
            seeds = ",".join(map(str, wanted[t.name]))
            rows.append((cell.row, cell.column, seeds, count, updates, "?" if cost is None else duration(cost)))
        lines.append(f"{t.name} preset={chosen[t.name][0].preset}\n{aligned(rows, '  ')}")
    left = _to_do(list(counted.values()), duration(known_total), duration(evaluations))
    return "\n".join([*lines, f"to do: {left}"])


def _to_do(runs: list[str], known: str, evaluations: str) -> str:
    """What is left in words.

    ``runs``: for each 'known', 'unknown' (by its cost), 'evaluation' or 'evaluation of unknown cost'; ``known`` and
    ``evaluations``: the time of those whose cost is known.
    """

    def several(kind: str, words: str) -> list[str]:
        count = runs.count(kind)
        plural, them = ("", "it") if count == 1 else ("s", "them")
        return [words.format(count=count, s=plural, them=them)] if count else []

    parts = several("known", f"about {known} of one process for {{count}} run{{s}}")
    parts += several("unknown", "{count} run{s} of unknown cost (nothing like {them} is recorded)")
    parts += several("evaluation", f"the evaluation of {{count}} trained run{{s}} (about {evaluations})")
    parts += several("evaluation of unknown cost", "the evaluation of {count} trained run{s} (of unknown cost)")
    return ", and ".join(parts) or "nothing"


def _left(store, cell, seed: int, state: str) -> float:
    """Which part of a run's training is still to be done, by its status and its curve."""
    if state in runner.FINISHED or state == "trained":
        return 0.0
    return 1.0 - runner.share_done(store, cell, seed)
