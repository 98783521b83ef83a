"""Where one seed of a run stands, and what of it a checkpoint keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from vaebench.errors import UserError
from vaebench.results import run_files
from vaebench.results.curves import BOUNDS
from vaebench.training import checkpoint
from vaebench.training.checkpoint import Checkpoint

SHED = "shed"
"""Marks a checkpoint of a run that has ended: what only further training
needs was left out of it."""

MEASURED = {"measured": True}
"""Marks what is told of a run and is no state of it: a checkpoint that lacks it is gone on with,
from its default."""


@dataclass
class RunState:
    """Where one seed of the pack stands.

    ``curve`` has one entry per validation; ``sums`` are the metrics since the last one, summed over
    ``count`` updates; ``stalled`` counts validations without improvement; ``saved`` is the update
    of the checkpoint, 0 where there is none. ``seconds`` are those of updates and validations;
    ``update_seconds`` those of the ``timed`` updates alone, which are fewer than all where a
    checkpoint did not keep them. ``engine``: the one that it is trained by, see ``engines``; ''
    where a checkpoint does not say. ``clock``: the one of all its seconds, see ``clock``; '' also
    where they are of several. ``shed``: whether the checkpoint is one that nothing can go on from,
    see ``shed_checkpoint``. Bounds in ``curve`` and ``best_bound`` are positive nats, lower is
    better, as in results.
    """

    seed: int
    folder: Path
    update: int = 0
    seconds: float = 0.0
    status: str = "running"
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
    """Of what a checkpoint keeps. Those of version 1, which do not name it, have bounds of the
    opposite sign."""

    def meta(self) -> dict[str, Any]:
        """What the checkpoint keeps beside the tensors; floats survive JSON bit for bit."""
        best = None if self.best_update is None else self.best_bound
        kept = {k: getattr(self, k) for k in self.META}
        return {**kept, "best_bound": best, "seed": self.seed, "version": self.VERSION}

    def restore(self, meta: dict[str, Any]) -> None:
        """Take over what a checkpoint kept, of this version or the first.

        KeyError where state is missing.
        """
        measured = {f.name: f.default for f in fields(self) if f.metadata.get("measured")}
        kept = {k: meta[k] for k in (*self.META, "best_bound") if k in meta or k not in measured}
        kept = {**measured, **kept}
        self.__dict__.update(kept, saved=kept["update"])
        self.best_bound = math.inf if kept["best_bound"] is None else kept["best_bound"]

        if meta.get("version", 1) == 1:
            self.curve = [
                {k: -v if k in BOUNDS else v for k, v in point.items()} for point in self.curve
            ]
            self.best_bound = math.inf if kept["best_bound"] is None else -kept["best_bound"]

    def stop(self, status: str, reason: str) -> None:
        """Train this seed no further."""
        self.status = status
        self.reason = reason

    @property
    def ms_per_update(self) -> float | None:
        """Milliseconds of one update, its noise and batch included and validations not.

        None where none was timed. Of a pack it is this seed's share of the common time.
        """
        return 1000 * self.update_seconds / self.timed if self.timed else None

    @property
    def parts_of_time(self) -> dict[str, float]:
        """Hours of the updates, and of the stretches between validations that had inner loops."""
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
    """Where the seed in ``folder`` stands, from its checkpoint; at update 0 where there is none.

    Raises UserError where the checkpoint is damaged.
    """
    out = RunState(seed, folder)
    if out.last.exists():
        meta = checkpoint.read(out.last).meta
        try:
            out.restore(meta)
        except KeyError as e:
            raise checkpoint.damaged(out.last, f"no {e.args[0]} in it") from None
        out.shed = bool(meta.get(SHED))
    return out


def evaluated_checkpoint(state: RunState, select: str) -> Checkpoint:
    """The parameters that are evaluated: the best on validation (``valid_bound``) or the ``last``.

    Raises UserError where the file is damaged or missing, or holds another update than the
    one that was the best.
    """
    if _last_is_evaluated(state, select):
        return checkpoint.read(state.last)
    best = checkpoint.read(state.best)
    if best.meta.get("update") != state.best_update:  # killed between the two files
        raise UserError(
            f"{state.best}: of update {best.meta.get('update')}, but the best by the checkpoint "
            f"is {state.best_update}; vaebench run goes on from the checkpoint, with --force it "
            "starts anew"
        )
    return best


def shed_checkpoint(state: RunState, select: str) -> Checkpoint:
    """The last checkpoint of a run that has ended, without what only further training needs.

    It says how the training went, and holds the parameters if it is these that are evaluated.
    Raises UserError as ``evaluated_checkpoint`` does.
    """
    evaluated_checkpoint(state, select)  # whole, or there is nothing to keep
    found = checkpoint.read(state.last)
    out = Checkpoint({}, meta={**found.meta, SHED: True})
    if _last_is_evaluated(state, select):
        out.params = found.params
        out.state = {k: v for k, v in found.state.items() if k.startswith("model.")}
    return out


def _last_is_evaluated(state: RunState, select: str) -> bool:
    return select != "valid_bound" or state.best_update is None
