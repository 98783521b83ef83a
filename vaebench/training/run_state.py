"""Where one seed of a run stands, and which part of that a checkpoint keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from vaebench.errors import UserError
from vaebench.results import run_files
from vaebench.results.curves import BOUNDS
from vaebench.training import checkpoint
from vaebench.training.checkpoint import Checkpoint

SHED = "shed"
"""Key that marks a checkpoint of a finished run, reduced to what is needed without further
training."""

MEASURED = {"measured": True}
"""Marks fields that describe a run and do not affect its training. If a checkpoint lacks one, the
run goes on from the field's default."""


class TrainingStatus(StrEnum):
    """Where the training of a seed stands; equal to the word in the checkpoint."""

    RUNNING = "running"
    TRAINED = "trained"
    """Trained as far as was asked, or stopped early by the rule or its patience."""
    DIVERGED = "diverged"


@dataclass
class RunState:
    """Where one seed of the pack stands.

    Bounds are positive nats, lower is better, as in results.

    Attributes:
        seed: The seed.
        folder: Folder of the run.
        update: Number of updates done.
        seconds: Time of updates and validations.
        status: Whether it is trained further.
        reason: Why training stopped early; else empty.
        curve: One entry per validation.
        sums: Metrics since the last validation, summed over ``count`` updates.
        count: Number of updates since the last validation.
        best_update: Update of the best validation; None before the first validation.
        best_bound: The best validation bound.
        stalled: Validations since the best one.
        saved: Update of the checkpoint; 0 if there is none.
        update_seconds: Time of the ``timed`` updates alone.
        timed: Number of updates that were timed: fewer than all if a checkpoint did not keep it.
        engine: The engine that trains it, see ``engines``; '' if a checkpoint does not say.
        clock: The clock of all its seconds, see ``clock``; '' for the wall clock, or if several
            clocks were used.
        shed: Whether nothing can go on from the checkpoint, see ``shed_checkpoint``.
    """

    seed: int
    folder: Path
    update: int = 0
    seconds: float = 0.0
    status: TrainingStatus = TrainingStatus.RUNNING
    reason: str = ""
    curve: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    best_update: int | None = None
    best_bound: float = math.inf
    stalled: int = 0
    saved: int = 0
    update_seconds: float = field(default=0.0, metadata=MEASURED)
    timed: int = field(default=0, metadata=MEASURED)
    engine: str = field(default="", metadata=MEASURED)
    clock: str = field(default="", metadata=MEASURED)
    shed: bool = False

    META: ClassVar[tuple[str, ...]] = (
        *(
            "update",
            "seconds",
            "status",
            "reason",
            "curve",
            "sums",
            "count",
            "best_update",
            "stalled",
        ),
        *("update_seconds", "timed", "engine", "clock"),
    )

    VERSION: ClassVar[int] = 2
    """Version of a checkpoint's content. Checkpoints of version 1 do not name it, and have bounds
    of the opposite sign."""

    def meta(self) -> dict[str, Any]:
        """Return what the checkpoint keeps beside the tensors; JSON keeps floats bit for bit."""
        # Before the first validation the best bound is infinite, for which JSON has no number.
        best = None if self.best_update is None else self.best_bound
        kept = {name: getattr(self, name) for name in self.META}
        return {**kept, "best_bound": best, "seed": self.seed, "version": self.VERSION}

    def restore(self, meta: dict[str, Any]) -> None:
        """Take over the ``meta`` of a checkpoint of this version or the first.

        Raises:
            KeyError: If a part of the state is missing.
            ValueError: If there is no such status.
        """
        # Checkpoints of earlier versions may lack fields that only describe a run: these begin at
        # their defaults. Any other field that is missing raises KeyError.
        measured = {
            field_.name: field_.default
            for field_ in fields(self)
            if field_.metadata.get("measured")
        }
        kept = {
            name: meta[name]
            for name in (*self.META, "best_bound")
            if name in meta or name not in measured
        }
        kept = {**measured, **kept}
        self.__dict__.update(kept, saved=kept["update"], status=TrainingStatus(kept["status"]))
        self.best_bound = math.inf if kept["best_bound"] is None else kept["best_bound"]

        # Version 1 kept bounds on log p(x) itself: change their signs.
        if meta.get("version", 1) == 1:
            self.curve = [
                {name: -value if name in BOUNDS else value for name, value in point.items()}
                for point in self.curve
            ]
            self.best_bound = math.inf if kept["best_bound"] is None else -kept["best_bound"]

    def stop(self, status: TrainingStatus, reason: str) -> None:
        """Train this seed no further."""
        self.status = status
        self.reason = reason

    @property
    def running(self) -> bool:
        """Whether it is trained further."""
        return self.status is TrainingStatus.RUNNING

    @property
    def ms_per_update(self) -> float | None:
        """Milliseconds of one update, with its noise and batch, without validations.

        It is None if no update was timed. In a pack it is this seed's share of the common time.
        """
        return 1000 * self.update_seconds / self.timed if self.timed else None

    @property
    def parts_of_time(self) -> dict[str, float]:
        """Hours of the timed updates, and of the stretches between validations with inner loops."""
        # A point's ``seconds`` are those since the run began, so a stretch took the difference.
        looped = before = 0.0
        for point in self.curve:
            looped += point["seconds"] - before if point.get("train_inner") else 0.0
            before = point["seconds"]
        return {"updates": self.update_seconds / 3600, "with_inner_loops": looped / 3600}

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / run_files.CHECKPOINT

    @property
    def best(self) -> Path:
        """The checkpoint to evaluate when selection is by the validation bound."""
        return self.folder / run_files.BEST


def progress_of(folder: Path, seed: int) -> RunState:
    """Return where the seed in ``folder`` stands: at its checkpoint, or else at update 0.

    Raises:
        UserError: If the checkpoint is damaged.
    """
    state = RunState(seed, folder)
    if state.last.exists():
        meta = checkpoint.read(state.last).meta
        try:
            state.restore(meta)
        except KeyError as e:
            raise checkpoint.damaged(state.last, f"no {e.args[0]} in it") from None
        except ValueError as e:
            raise checkpoint.damaged(state.last, str(e)) from None
        state.shed = bool(meta.get(SHED))
    return state


def evaluated_checkpoint(state: RunState, select: str) -> Checkpoint:
    """Return the checkpoint that is evaluated.

    Args:
        state: Where the run stands.
        select: ``valid_bound``: the best on validation, if there was one; ``last``: the last one.

    Raises:
        UserError: If the file is damaged or missing, or holds another update than the best one.
    """
    if _last_is_evaluated(state, select):
        return checkpoint.read(state.last)

    best = checkpoint.read(state.best)
    # They differ if the process was killed after it wrote the one file and before the other.
    if best.meta.get("update") != state.best_update:
        raise UserError(
            f"{state.best}: of update {best.meta.get('update')}, but the best by the checkpoint "
            f"is {state.best_update}; vaebench run goes on from the checkpoint, with --force it "
            "starts anew"
        )
    return best


def shed_checkpoint(state: RunState, select: str) -> Checkpoint:
    """Return the last checkpoint of a finished run without what only further training needs.

    It says how the training went, and holds the parameters if the last ones are evaluated.

    Raises:
        UserError: As ``evaluated_checkpoint`` does.
    """
    evaluated_checkpoint(state, select)  # raises if the run cannot be evaluated

    last = checkpoint.read(state.last)
    shed = Checkpoint({}, meta={**last.meta, SHED: True})
    if _last_is_evaluated(state, select):
        shed.params = last.params
        # Of the objective's state only the model's buffers are evaluated.
        shed.state = {k: v for k, v in last.state.items() if k.startswith("model.")}
    return shed


def _last_is_evaluated(state: RunState, select: str) -> bool:
    return select != "valid_bound" or state.best_update is None
