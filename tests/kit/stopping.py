"""Work that is asked to stop."""

from __future__ import annotations


class Stopping:
    """A ``should_stop`` that is True at its ``at``-th call; it counts the calls."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count == self.at
