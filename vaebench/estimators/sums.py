"""What a metric gathers from the passes of a stream.

In a form that can be kept and taken up again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from vaebench.estimators.weights import Pass


class Gathered:
    """A base class: all that an object has gathered stands in its attributes.

    These are plain values, tensors, lists, tuples or dicts of them, or other ``Gathered``.
    Attributes are kept as they are, so a new one needs no code here.
    """

    def state(self) -> dict[str, Any]:
        """All attributes; see ``vaebench.work.steps.Stateful``."""
        return {k: v.state() if isinstance(v, Gathered) else v for k, v in vars(self).items()}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave. Attributes that are ``Gathered`` stay the same objects."""
        for name, value in kept.items():
            mine = getattr(self, name)
            if isinstance(mine, Gathered):
                mine.load(value)
            else:
                setattr(self, name, value)


class Sums(Gathered, ABC):
    """What a stream of posterior samples fills.

    Attributes:
        samples: How many samples of every case are asked for.
    """

    samples: int

    @abstractmethod
    def add(self, part: Pass) -> None:
        """Take what is asked for of a pass, and leave the rest."""


class Together:
    """Several sums that one stream fills, as one state."""

    def __init__(self, sums: list[Sums]) -> None:
        self.sums = sums

    def state(self) -> dict[str, Any]:
        """The state of each by its number."""
        return {str(i): s.state() for i, s in enumerate(self.sums)}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave for the same sums."""
        for i, s in enumerate(self.sums):
            s.load(kept[str(i)])
