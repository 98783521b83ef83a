"""What is recorded while a pack of seeds trains: times, curves, checkpoints, best, divergence.

Every seed has its own folder with

- ``checkpoint.safetensors``: everything needed to go on, written at every validation and at least
  once a minute;
- ``best.safetensors``: the parameters with the best validation bound so far;
- ``curve.csv``: one line per validation, a view of what the checkpoint holds, bounds as positive
  nats;
- ``snapshots/``: the parameters after the numbers of updates that ``train.snapshots`` lists.

A process may die at any moment. The best parameters are written before the checkpoint that refers
to them, so a checkpoint never names a best that does not exist. Updates made after the checkpoint
are made again, with the same noise.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vaebench.errors import Interrupted
from vaebench.files import write_atomic
from vaebench.metrics.validation import validation
from vaebench.results import run_files
from vaebench.results.curves import BOUNDS, UNIT
from vaebench.settings.records import TrainSettings
from vaebench.training import checkpoint, clock, snapshots
from vaebench.training.checkpoint import Checkpoint
from vaebench.training.engines import Pack
from vaebench.training.run_state import RunState, TrainingStatus
from vaebench.work.steps import Work

SAVE_SECONDS = 60.0
"""Upper limit, in seconds, of the work lost when the process is killed, however rare the
validations are."""

PATIENCE = 1.0
"""Seconds after which a validation can be interrupted; a shorter one is finished first."""


class Bookkeeping:
    """Keeps the records of a pack's seeds.

    Args:
        states: Where the seeds stand; changed in place.
        pack: What trains them, in the same order.
        valid: The validation examples, (n, d).
        settings: The cell's ``train`` settings.
        should_stop: Asked during validations that take long.
    """

    def __init__(
        self,
        states: list[RunState],
        pack: Pack,
        valid: Tensor,
        settings: TrainSettings,
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
        return any(state.running for state in self.states)

    def account(self, sums: dict[str, list[float]], updates: int, end: int, seconds: float) -> None:
        """Record ``updates`` updates of all seeds.

        Args:
            sums: Metric -> its sum over these updates, one number for each seed.
            updates: How many updates were made.
            end: Updates done so far, with these.
            seconds: Time that all seeds together took.
        """
        # Seeds of a pack train together, so no time belongs to one of them: each gets the same.
        share = seconds / len(self.states)
        for r, state in enumerate(self.states):
            _account(
                state, {name: of_seeds[r] for name, of_seeds in sums.items()}, updates, end, share
            )

    def snapshot(self, update: int, kind: str = "") -> None:
        """Keep the parameters of the running seeds for good, as those after ``update`` updates.

        This is done before any checkpoint of a later update, so a run that was killed has all
        snapshots of its past.
        """
        # An evaluation needs the objective's buffers as well, but not its state of training.
        buffer_names = {name for name, _ in self.pack.objective.named_buffers()}
        for r, state in enumerate(self.states):
            if state.running:
                params, kept, _ = self.pack.seed(r)
                buffers = {name: v for name, v in kept.items() if name in buffer_names}
                snapshots.write(state.folder, update, kind, params, buffers)

    def validate(self) -> None:
        """Validate the running seeds, and save them."""
        for r, state in enumerate(self.states):
            if state.running:
                self._validate(r, state)
        self._saved = time.monotonic()

    def save_if_due(self) -> None:
        """Save the running seeds if the last time was a while ago."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the running seeds."""
        for r, state in enumerate(self.states):
            if state.running and (current := self._now(r, state)) is not None:
                _save(state, current)
        self._saved = time.monotonic()

    def shown(self) -> dict[str, float]:
        """Return what is shown beside the progress: the mean of the best validation bounds, if any.

        It is in positive nats.
        """
        best_bounds = [state.best_bound for state in self.states if state.best_update is not None]
        return {"valid_bound": sum(best_bounds) / len(best_bounds)} if best_bounds else {}

    # ----------------------------------------------------------------------------------- validation

    def _validate(self, r: int, state: RunState) -> None:
        """Validate one seed: find its bound, extend its curve, react to the result, and save it.

        The noise is always the same, so that checkpoints can be compared pairwise.

        Raises:
            Interrupted: If the user stops a validation that takes long. The checkpoint is then an
                earlier one.
        """
        start = clock.seconds(self.valid.device)
        current = self._now(r, state)
        if current is None:
            return

        # The pack trains stacked copies. To be validated, those of this seed are put into the
        # objective's own module, whose parameter values no step reads.
        objective = self.pack.objective
        buffers = {
            name: current.state[name]
            for name, _ in objective.named_buffers()
            if name in current.state
        }
        objective.load_state_dict({**current.params, **buffers}, strict=False)

        validated = self._bound(state)
        bound = validated["valid_bound"]
        if not math.isfinite(bound):
            _diverge(state, "the validation bound", state.update)
            return

        # The sums of the training metrics begin anew after each point of the curve.
        state.curve.append(
            {
                "update": state.update,
                "seconds": round(state.seconds, 3),
                **_means(state),
                **validated,
            }
        )
        state.sums = {}
        state.count = 0

        # Bounds are positive nats: lower is better.
        improved = bound < state.best_bound
        if improved:
            state.best_bound = bound
            state.best_update = state.update
            state.stalled = 0
        else:
            state.stalled += 1

        patience = self.settings.patience
        if patience is not None and state.stalled >= patience:
            state.stop(TrainingStatus.TRAINED, f"no improvement in {state.stalled} validations")

        # A run's time includes its validations, so this is added before the state is saved.
        state.seconds += clock.seconds(self.valid.device) - start

        # The best is written first, so that no checkpoint names one that does not exist.
        if improved:
            checkpoint.write(state.best, Checkpoint(current.params, buffers, meta=state.meta()))
        self._react(r, state, validated, current)
        _save(state, current)
        write_curve(state)

    def _bound(self, state: RunState) -> dict[str, float]:
        """Return ``valid_bound``, positive nats, and what else a validation finds."""
        # The objective says how the bound is taken: exactly, by annealing, or by sampling.
        objective = self.pack.objective
        settings = {**objective.validation, "batch": self.settings.batch}
        samples = self.settings.valid_samples

        try:
            with Work(self.should_stop, patience=PATIENCE):
                return validation(
                    objective.model, self.valid, samples, state.seed, state.update, settings
                )
        except Interrupted:
            where = f"stopped in the validation at update {state.update}"
            raise Interrupted(f"{where}; the state of update {state.saved} is saved") from None

    def _react(
        self, r: int, state: RunState, validated: dict[str, float], current: Checkpoint
    ) -> None:
        """Let the objective and the optimiser react to a validation.

        They may change their state, load the best parameters again, or stop the training.
        """
        current.state = self.pack.objective.validated(current.state, validated)
        current.opt, verdict = self.pack.optim.validated(
            current.opt, validated["valid_bound"], len(state.curve) - 1
        )

        # Only parameters and buffers are loaded again: the optimiser keeps its lowered rates.
        if verdict.reload and state.best_update != state.update:
            best = checkpoint.read(state.best)
            current.params = best.params
            current.state = {**current.state, **best.state}

        if verdict.stop:
            state.stop(TrainingStatus.TRAINED, verdict.stop)

        self.pack.put(r, current.params, current.state, current.opt)

    def _now(self, r: int, state: RunState) -> Checkpoint | None:
        """Return the tensors of a seed, or None if one is not finite.

        In that case the seed is marked as diverged.
        """
        current = Checkpoint(*self.pack.seed(r))
        for tensors in (current.params, current.state, current.opt):
            for name, value in tensors.items():
                if not bool(torch.isfinite(value).all()):
                    _diverge(state, name, state.update)
                    return None
        return current


def _account(
    state: RunState, sums: dict[str, float], updates: int, end: int, seconds: float
) -> None:
    """Record updates of one seed.

    If a sum is not finite, the seed is marked as diverged, and its checkpoint stays as it is.
    """
    if not state.running:
        return
    if not all(math.isfinite(value) for value in sums.values()):
        _diverge(state, "the training bound", end)
        return

    state.update = end
    state.count += updates
    state.timed += updates
    state.seconds += seconds
    state.update_seconds += seconds
    for name, value in sums.items():
        state.sums[name] = state.sums.get(name, 0.0) + value


def _diverge(state: RunState, what: str, update: int) -> None:
    what_is_left = (
        f"the checkpoint is of update {state.saved}"
        if state.saved
        else "there is no checkpoint yet"
    )
    state.stop(TrainingStatus.DIVERGED, f"{what} is not finite at update {update}; {what_is_left}")


def _means(state: RunState) -> dict[str, float]:
    """Return the mean metrics since the last validation, bounds on log p(x) as positive nats."""
    means = {f"train_{name}": value / state.count for name, value in state.sums.items()}
    return {name: -value if name in BOUNDS else value for name, value in means.items()}


def _save(state: RunState, current: Checkpoint) -> None:
    current.meta = state.meta()
    checkpoint.write(state.last, current)
    state.saved = state.update


def write_curve(state: RunState) -> None:
    """Write the curve as CSV beside the checkpoint, which holds it too.

    Nothing is written before the first validation.
    """
    if not state.curve:
        return
    text = io.StringIO()

    # If a run goes on from the checkpoint of an earlier version, its first points may lack columns
    # that later ones have. A dict keeps the columns in the order in which they first occur.
    names = dict.fromkeys(name for point in state.curve for name in point)
    writer = csv.DictWriter(text, fieldnames=[*names, "unit"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**point, "unit": UNIT} for point in state.curve)
    write_atomic(state.folder / run_files.CURVE, text.getvalue())
