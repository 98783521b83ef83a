"""``run.track=wandb``: Weights & Biases.

Its own environment variables apply: ``WANDB_MODE=offline`` sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import wandb

from vaebench.results.stats import Measure
from vaebench.tracking.base import Subject, Tracker

PROJECT = "vaebench"
"""The project, unless WANDB_PROJECT names another one."""


class WeightsAndBiases(Tracker):
    """One W&B run for each run, grouped by table, row and column.

    Its files are below ``wandb/`` beside the runs.
    """

    def __init__(self, subject: Subject) -> None:
        subject.root.mkdir(parents=True, exist_ok=True)
        key = f"{subject.key}/seed-{subject.seed}"
        self._run = wandb.init(
            project=None if wandb.Settings().project else PROJECT,
            group=f"{subject.table} / {subject.row} / {subject.column}",
            name=subject.name,
            id=sha256(key.encode()).hexdigest()[:16],  # a continued run finds its W&B run again
            resume="allow",
            config=subject.settings,
            dir=str(subject.root),
            settings=wandb.Settings(silent=True),
            reinit="create_new",  # a pack has several seeds in one process
        )

        # Plot everything over the update, not over the number of calls of ``log``.
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")

    def point(self, update: int, values: Mapping[str, float]) -> None:
        self._run.log({"update": update, **values})

    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        picture = wandb.Image((pixels * 255).astype(np.uint8), mode="L")
        self._run.log({"update": update, name: picture})

    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        table = wandb.Table(columns=["document"], data=[[line] for line in lines])
        self._run.log({"update": update, name: table})

    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        self._run.summary["status"] = status
        self._run.summary["updates"] = update
        for m in measures:
            self._run.summary[f"final/{m.name}"] = m.value

    def close(self) -> None:
        self._run.finish()
