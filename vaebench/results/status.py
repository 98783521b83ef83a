"""The statuses of a run."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of a run; equal to the word in ``result.json`` and in the CSV."""

    NEW = "new"
    """Nothing is there."""
    PARTIAL = "partial"
    """Trained in part; the same command continues from the checkpoint."""
    TRAINED = "trained"
    """Trained to its end, and not evaluated yet as the cell asks."""
    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The user stopped it. Only this command says so; its folder says ``partial``."""
    BUSY = "busy"
    """Another process works on it."""

    @property
    def finished(self) -> bool:
        """Whether it is only run again if forced, because the same run would end the same way."""
        return self in (Status.DONE, Status.DIVERGED)

    def ends(self, evaluate: bool) -> bool:
        """Whether nothing is left to do.

        That is if it is finished, or if it is trained and the evaluation is left for later.
        """
        return self.finished or (self is Status.TRAINED and not evaluate)

    @property
    def bad(self) -> bool:
        """Whether it ended without a result."""
        return self in (Status.FAILED, Status.DIVERGED)
