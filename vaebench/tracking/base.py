"""What a tracker is, and what it is told of the run that it follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaebench.results.stats import Measure


@dataclass(frozen=True)
class Subject:
    """The run that is followed.

    Attributes:
        table: Name of the table that asked for it.
        row: Of the table.
        column: Of the table.
        seed: Of the run.
        key: The run's name in the results folder, without the seed.
        folder: The run's folder.
        root: Folder for the files of trackers that keep many runs together.
        config: All settings, section -> key -> value.
        update: Number of updates behind it when tracking begins; 0 for a new run.
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
        """The settings by dotted name."""
        out: dict[str, Any] = {}
        for section, value in self.config.items():
            if isinstance(value, Mapping):
                out.update({f"{section}.{key}": each for key, each in value.items()})
            else:
                out[section] = value
        return out


class Tracker(ABC):
    """Is told of one run.

    A run that goes on is told of again by a new tracker, from where the last one ended.
    """

    @abstractmethod
    def __init__(self, subject: Subject) -> None:
        """Open what is written to."""

    @abstractmethod
    def point(self, update: int, values: Mapping[str, float]) -> None:
        """One validation: its number of updates, and name -> value (bounds as positive nats)."""

    @abstractmethod
    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        """A picture, grey (height, width) with values in [0, 1]."""

    @abstractmethod
    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        """Documents, one a line."""

    @abstractmethod
    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        """How the run ended, and its final measures."""

    def close(self) -> None:  # noqa: B027  (not every tracker has something to close)
        """Nothing more comes from this process. Called also if the run was stopped or failed."""
