"""The base class of trackers, and the description of the run that they follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaebench.config.values import leaves
from vaebench.results.stats import Measure


@dataclass(frozen=True)
class Subject:
    """The run that a tracker follows.

    Attributes:
        table: Name of the table that asked for the run.
        row: Row of the table.
        column: Column of the table.
        seed: Seed of the run.
        key: The run's name in the results folder, without the seed.
        folder: The run's folder.
        root: Folder for the files of trackers that keep many runs together.
        config: All settings, section -> key -> value.
        update: Number of updates made before tracking begins; 0 for a new run.
    """

    table: str
    row: str
    column: str
    seed: int
    key: str
    folder: Path
    root: Path
    config: Mapping[str, Any]
    update: int = 0

    @property
    def name(self) -> str:
        """Table, row, column and seed in one line."""
        return f"{self.table} / {self.row} / {self.column} / seed {self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted name, such as ``optim.rate``."""
        return dict(leaves(self.config))


class Tracker(ABC):
    """A place that gets the points, pictures and measures of one run.

    If a run is continued, a new tracker follows it from where the last one ended.
    """

    @abstractmethod
    def __init__(self, subject: Subject) -> None:
        """Open the place that is written to."""

    @abstractmethod
    def point(self, update: int, values: Mapping[str, float]) -> None:
        """Write one validation: its update, and name -> value (bounds as positive nats)."""

    @abstractmethod
    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        """Write a picture, grey (height, width) with values in [0, 1]."""

    @abstractmethod
    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        """Write documents, one a line."""

    @abstractmethod
    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        """Write how the run ended, and its final measures."""

    def close(self) -> None:  # noqa: B027  (not every tracker has something to close)
        """Close the place. This is called at the end, even if the run was stopped or failed."""
