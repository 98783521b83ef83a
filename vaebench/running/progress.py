"""What a person sees on stderr while cells run.

There is one line for each finished cell, and the progress of the others. On a terminal that is a
bar. Elsewhere it is a line when a cell begins and then at most one a minute.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from vaebench.config.cells import Cell
from vaebench.formatting import duration
from vaebench.protocol.registry import METRICS
from vaebench.protocol.validated import validated_by
from vaebench.results.status import Status
from vaebench.running.tasks import Outcome, unit
from vaebench.work.events import Advanced, Event, Said, Spared, Working

LINE_SECONDS = 60.0
"""Least time between two lines about the same work, if there is no terminal."""


class Progress:
    """Receives the events of workers and shows them.

    Args:
        todo: Cells with the seeds to wait for.
        updates: Their updates in all; None if nothing is trained.
    """

    def __init__(self, todo: list[tuple[Cell, list[int]]], updates: int | None) -> None:
        self.waiting = {unit(cell): set(seeds) for cell, seeds in todo}
        self.outcomes: dict[tuple[str, str], list[Outcome]] = {key: [] for key in self.waiting}
        self.total = len(self.waiting)
        self.finished = 0
        self.told: dict[str, float] = {}

        self.bar = None
        if sys.stderr.isatty() and updates != 0:
            from tqdm import tqdm

            # If nothing is trained the bar has nothing to fill: it shows its words alone.
            shape = (
                {"bar_format": "{desc}"}
                if updates is None
                else {"unit": " updates", "unit_scale": True}
            )
            self.bar = tqdm(total=updates, dynamic_ncols=True, smoothing=0.05, **shape)

    def __call__(self, event: Event) -> None:
        """Show one event of a worker."""
        match event:
            case Outcome():
                self._ended(event)
            case Working():
                self._working(event)
            case Said():
                self.line(event.line)
            case Advanced() if self.bar is not None:
                self.bar.update(event.updates)
            case Spared() if self.bar is not None:
                self.bar.total = max(self.bar.total - event.updates, 0)
                self.bar.refresh()

    def begin(self, who: str, text: str) -> None:
        """Print a line about work that begins; the next one about it follows a minute later."""
        self.told[who] = time.monotonic()
        self.line(text)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.leave = False
            self.bar.close()

    def _working(self, event: Working) -> None:
        if self.bar is not None:
            self.bar.set_description_str(
                f"{event.who} {event.line if event.beside is None else event.beside}".rstrip()
            )
            return
        now = time.monotonic()
        if event.line and now - self.told.get(event.who, -math.inf) >= LINE_SECONDS:
            self.told[event.who] = now
            self.line(f"{event.who}: {event.line}")

    def _ended(self, outcome: Outcome) -> None:
        # A cell may be done by several tasks: its line comes with the last of its seeds.
        key = unit(outcome.task.cell)
        waiting_seeds = self.waiting.get(key, set())
        if outcome.status is Status.BUSY or outcome.seed not in waiting_seeds:
            return  # a busy run comes again later

        waiting_seeds.remove(outcome.seed)
        self.outcomes[key].append(outcome)
        if not waiting_seeds:
            self.finished += 1
            self.line(
                f"[{self.finished}/{self.total}] {outcome.task.cell}: {summary(self.outcomes[key])}"
            )


def summary(outcomes: list[Outcome]) -> str:
    """Write one cell's outcomes in a line.

    It says how many seeds ended how, the mean measure of those that succeeded, and the time, if it
    is known.
    """
    parts = []
    seconds = sum(outcome.seconds for outcome in outcomes)
    explained = False
    for status in dict.fromkeys(outcome.status for outcome in outcomes):
        group = sorted(
            (outcome for outcome in outcomes if outcome.status == status),
            key=lambda outcome: outcome.seed,
        )

        # One part of the line for each status, with the seeds that ended so.
        text = (
            f"{status} (seed{'s' if len(group) > 1 else ''} {','.join(str(o.seed) for o in group)})"
        )
        valued = [outcome for outcome in group if outcome.value is not None]
        if status in (Status.DONE, Status.TRAINED) and valued:
            # Runs without the cell's own measure may be reported by another one: these two are not
            # averaged.
            measure = valued[0].measure
            cell = valued[0].task.cell
            values = [
                outcome.value
                for outcome in valued
                if outcome.value is not None and outcome.measure == measure
            ]
            text += f" {in_words(measure, cell.config)} {sum(values) / len(values):.2f}"

        reasons = dict.fromkeys(
            outcome.reason for outcome in group if outcome.reason and status.bad
        )
        flags = dict.fromkeys(outcome.flags for outcome in group if outcome.flags)
        text += f" (flagged: {'; '.join(flags)})" if flags else ""
        parts.append(text + "".join(f": {r}" for r in reasons))
        explained = bool(reasons)

    line = "; ".join(parts)
    if not seconds:  # it was stopped, or failed before it began
        return line
    # A reason is a sentence of its own, often advice, and "in 5.0 s" would read as part of it.
    return line + (f" ({duration(seconds)})" if explained else f" in {duration(seconds)}")


def in_words(measure: str, config: dict[str, Any]) -> str:
    """Return a measure as a person reads it.

    What validations measure depends on the model and the objective.
    """
    if measure == "valid_bound":
        return f"validation {validated_by(config)}"
    return (METRICS[measure].heading if measure in METRICS else "") or measure
