"""What is written down while a pack of seeds trains.

Times, curves, checkpoints, the best parameters, divergence.

Every seed has its own folder with

- ``checkpoint.safetensors``: everything needed to go on, written at every validation and at least
  once a minute;
- ``best.safetensors``: the parameters with the best validation bound so far;
- ``curve.csv``: one line per validation, a view of what the checkpoint holds,
  bounds as positive nats;
- ``snapshots/``: the parameters after the numbers of updates that ``train.snapshots`` lists.

A process may die at any moment. The best parameters are written before the checkpoint that speaks
of them, so a checkpoint never names a best that is not there; what was done after it is done again,
with the same noise.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaebench.errors import Interrupted
from vaebench.files import write_atomic
from vaebench.metrics.validation import validation
from vaebench.results import run_files
from vaebench.results.curves import BOUNDS, UNIT
from vaebench.training import checkpoint, clock, snapshots
from vaebench.training.checkpoint import Checkpoint
from vaebench.training.engines import Pack
from vaebench.training.run_state import RunState
from vaebench.work.steps import Work

SAVE_SECONDS = 60.0
"""Upper limit, in seconds, of the updates lost when the process is killed, however rare the
validations are."""

PATIENCE = 1.0
"""Seconds that a validation may take before it is stopped within: one that
ends so soon is let end."""


class Bookkeeping:
    """The books of a pack's seeds.

    Args:
        states: where the seeds stand; changed in place.
        pack: what trains them, in the same order.
        valid: the validation examples (n, d).
        settings: the cell's ``train`` settings.
        should_stop: asked within validations that take long.
    """

    def __init__(
        self,
        states: list[RunState],
        pack: Pack,
        valid: Tensor,
        settings: dict[str, Any],
        should_stop: Callable[[], bool],
    ) -> None:
        self.states = states
        self.pack = pack
        self.valid = valid
        self.settings = settings
        self.should_stop = should_stop
        self._saved = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether any seed still trains."""
        return any(state.status == "running" for state in self.states)

    def account(self, sums: dict[str, list[float]], updates: int, end: int, seconds: float) -> None:
        """Book ``updates`` updates of all seeds, up to number ``end``.

        Args:
            sums: metric -> its sum over these updates, one number for each seed.
            updates: how many there were.
            end: the number of updates done after them.
            seconds: what they took together.
        """
        share = seconds / len(self.states)
        for r, state in enumerate(self.states):
            _account(state, {name: each[r] for name, each in sums.items()}, updates, end, share)

    def snapshot(self, update: int, kind: str = "") -> None:
        """Keep the parameters of the running seeds for good, as those after so many updates.

        That is before any checkpoint of a later update: a run that was killed has all
        snapshots of its past.
        """
        names = {name for name, _ in self.pack.objective.named_buffers()}
        for r, state in enumerate(self.states):
            if state.status == "running":
                params, kept, _ = self.pack.seed(r)
                buffers = {name: v for name, v in kept.items() if name in names}
                snapshots.write(state.folder, update, kind, params, buffers)

    def validate(self) -> None:
        """Validate the running seeds, and save them."""
        for r, state in enumerate(self.states):
            if state.status == "running":
                self._validate(r, state)
        self._saved = time.monotonic()

    def save_if_due(self) -> None:
        """Save the running seeds if the last time was a while ago."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the running seeds."""
        for r, state in enumerate(self.states):
            if state.status == "running" and (now := self._now(r, state)) is not None:
                _save(state, now)
        self._saved = time.monotonic()

    def shown(self) -> dict[str, float]:
        """What stands beside the progress.

        The mean of the best validation bounds, if there are any.
        """
        best = [state.best_bound for state in self.states if state.best_update is not None]
        return {"valid_bound": sum(best) / len(best)} if best else {}

    # ----------------------------------------------------------------------------------- validation

    def _validate(self, r: int, state: RunState) -> None:
        """The bound of the validation examples.

        Always with the same noise, so that checkpoints compare paired. Raises Interrupted if the
        user stops a validation that takes long; the checkpoint is an earlier one.
        """
        began = clock.seconds(self.valid.device)
        now = self._now(r, state)
        if now is None:
            return

        objective = self.pack.objective
        buffers = {
            name: now.state[name] for name, _ in objective.named_buffers() if name in now.state
        }
        objective.load_state_dict({**now.params, **buffers}, strict=False)
        found = self._bound(state)
        value = found["valid_bound"]
        if not math.isfinite(value):
            _diverge(state, "the validation bound", state.update)
            return

        state.curve.append(
            {"update": state.update, "seconds": round(state.seconds, 3), **_means(state), **found}
        )
        state.sums = {}
        state.count = 0
        improved = value < state.best_bound
        if improved:
            state.best_bound = value
            state.best_update = state.update
            state.stalled = 0
        else:
            state.stalled += 1

        patience = self.settings["patience"]
        if patience is not None and state.stalled >= patience:
            state.stop("trained", f"no improvement in {state.stalled} validations")
        state.seconds += clock.seconds(self.valid.device) - began

        if improved:
            checkpoint.write(state.best, Checkpoint(now.params, buffers, meta=state.meta()))
        self._react(r, state, found, now)
        _save(state, now)
        write_curve(state)

    def _bound(self, state: RunState) -> dict[str, float]:
        """``valid_bound``, positive nats, and what else a validation finds."""
        objective = self.pack.objective
        settings = {**objective.validation, "batch": self.settings["batch"]}
        samples = self.settings["valid_samples"]
        try:
            with Work(self.should_stop, patience=PATIENCE):
                return validation(
                    objective.model, self.valid, samples, state.seed, state.update, settings
                )
        except Interrupted:
            where = f"stopped in the validation at update {state.update}"
            raise Interrupted(f"{where}; the state of update {state.saved} is saved") from None

    def _react(self, r: int, state: RunState, found: dict[str, float], now: Checkpoint) -> None:
        """Let the objective and the optimiser answer.

        New state, the best parameters again, or the end.
        """
        now.state = self.pack.objective.validated(now.state, found)
        now.opt, verdict = self.pack.optim.validated(
            now.opt, found["valid_bound"], len(state.curve) - 1
        )
        if verdict.reload and state.best_update != state.update:
            best = checkpoint.read(state.best)
            now.params = best.params
            now.state = {**now.state, **best.state}
        if verdict.stop:
            state.stop("trained", verdict.stop)
        self.pack.put(r, now.params, now.state, now.opt)

    def _now(self, r: int, state: RunState) -> Checkpoint | None:
        """The tensors of a seed.

        None if one is not finite: then the seed has diverged, and is marked so.
        """
        now = Checkpoint(*self.pack.seed(r))
        for tensors in (now.params, now.state, now.opt):
            for name, v in tensors.items():
                if not bool(torch.isfinite(v).all()):
                    _diverge(state, name, state.update)
                    return None
        return now


def _account(
    state: RunState, sums: dict[str, float], updates: int, end: int, seconds: float
) -> None:
    """Book updates of one seed.

    A sum that is not finite marks it as diverged and leaves its checkpoint alone.
    """
    if state.status != "running":
        return
    if not all(math.isfinite(v) for v in sums.values()):
        _diverge(state, "the training bound", end)
        return

    state.update = end
    state.count += updates
    state.timed += updates
    state.seconds += seconds
    state.update_seconds += seconds
    for name, v in sums.items():
        state.sums[name] = state.sums.get(name, 0.0) + v


def _diverge(state: RunState, what: str, update: int) -> None:
    kept = (
        f"the checkpoint is of update {state.saved}"
        if state.saved
        else "there is no checkpoint yet"
    )
    state.stop("diverged", f"{what} is not finite at update {update}; {kept}")


def _means(state: RunState) -> dict[str, float]:
    """The objective's metrics since the last validation; its bound of log p(x) as positive nats."""
    means = {f"train_{name}": v / state.count for name, v in state.sums.items()}
    return {name: -v if name in BOUNDS else v for name, v in means.items()}


def _save(state: RunState, now: Checkpoint) -> None:
    now.meta = state.meta()
    checkpoint.write(state.last, now)
    state.saved = state.update


def write_curve(state: RunState) -> None:
    """The curve as CSV beside the checkpoint, which holds it too.

    Nothing before the first validation.
    """
    if not state.curve:
        return
    text = io.StringIO()
    # A run that goes on from the checkpoint of an earlier version may have columns that
    # its first points lack.
    names = dict.fromkeys(name for point in state.curve for name in point)
    writer = csv.DictWriter(text, fieldnames=[*names, "unit"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**point, "unit": UNIT} for point in state.curve)
    write_atomic(state.folder / run_files.CURVE, text.getvalue())
