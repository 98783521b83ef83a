"""The launcher: it brings tasks to where they run, and their outcomes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vaebench.running.tasks import Outcome, Task
from vaebench.work.events import Say

SAVED = "interrupted; the state is saved, the same command goes on from here"


class Launched(NamedTuple):
    """The outcome of some tasks.

    Attributes:
        outcomes: The outcomes of the runs that were tried.
        stopped: Whether the user asked to stop before all had ended.
        line: What the user is told then.
        late: Whether the time was over before all had ended.
    """

    outcomes: list[Outcome]
    stopped: bool
    line: str = SAVED
    late: bool = False


class Launcher(Protocol):
    """Runs tasks somewhere.

    It returns when all have ended, or were stopped with their state saved.
    """

    def launch(self, tasks: Sequence[Task], say: Say, fail_fast: bool = False) -> Launched:
        """Run the tasks.

        Args:
            tasks: The tasks. Each locks its runs, so none is trained twice, whatever else runs
                beside it.
            say: Called with progress and with each outcome; see ``work.events.Say``.
            fail_fast: Begin no further task after the first failure.
        """
        ...
