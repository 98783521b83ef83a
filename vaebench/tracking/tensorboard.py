"""``run.track=tensorboard``: event files below ``tensorboard/`` beside the runs.

``tensorboard --logdir`` shows them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from vaebench.results.stats import Measure
from vaebench.tracking.base import Subject, Tracker
from vaebench.tracking.names import as_folder


class TensorBoard(Tracker):
    """One log folder for each run: ``tensorboard/TABLE/ROW/COLUMN/seed-S``."""

    def __init__(self, subject: Subject) -> None:
        parts = (subject.table, subject.row, subject.column, f"seed-{subject.seed}")
        folder = subject.root.joinpath("tensorboard", *map(as_folder, parts))
        self._writer = SummaryWriter(str(folder))

        # TensorBoard shows texts as Markdown, so the settings become a block of code.
        settings = json.dumps(subject.config, indent=2)
        self._writer.add_text("config", f"```\n{settings}\n```", subject.update)

    def point(self, update: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"curve/{name}", value, update)

    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        self._writer.add_image(name, pixels.astype(np.float32), update, dataformats="HW")

    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        # Two blanks at the end of a line keep the line break in Markdown.
        self._writer.add_text(name, "  \n".join(lines), update)

    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        self._writer.add_text("status", status, update)
        for m in measures:
            self._writer.add_scalar(f"final/{m.name}", m.value, update)

    def close(self) -> None:
        self._writer.close()
