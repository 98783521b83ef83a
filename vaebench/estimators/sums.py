"""What a metric gathers from the passes of a stream.

It has a form that can be stored and read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from vaebench.estimators.weights import Pass


class Gathered:
    """Base class of objects that keep all they have gathered in their attributes.

    These are plain values, tensors, lists, tuples or dicts of them, or other ``Gathered``.
    Attributes are stored as they are, so a new one needs no code here.
    """

    def state(self) -> dict[str, Any]:
        """Return all attributes; see ``vaebench.work.steps.Stateful``."""
        return {k: v.state() if isinstance(v, Gathered) else v for k, v in vars(self).items()}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave. Attributes that are ``Gathered`` stay the same objects."""
        for name, value in kept.items():
            present = getattr(self, name)
            if isinstance(present, Gathered):
                present.load(value)
            else:
                setattr(self, name, value)


class Sums(Gathered, ABC):
    """Sums that a stream of posterior samples fills.

    Attributes:
        samples: How many samples of every example are wanted.
    """

    samples: int

    @abstractmethod
    def add(self, part: Pass) -> None:
        """Add what is needed from a pass; ignore the rest."""


class Together:
    """Several sums that one stream fills, as one state."""

    def __init__(self, sums: Sequence[Sums]) -> None:
        self.sums = sums

    def state(self) -> dict[str, Any]:
        """Return the state of each, by its number."""
        return {str(i): s.state() for i, s in enumerate(self.sums)}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave for the same sums."""
        for i, s in enumerate(self.sums):
            s.load(kept[str(i)])
