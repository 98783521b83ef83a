"""The launcher that runs one task after the other, in this process."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vaebench.running.launchers.base import Launched
from vaebench.running.launchers.stop import Stop
from vaebench.running.tasks import Outcome, Task, bad, work
from vaebench.work.events import Say


class Inline:
    """The launcher of a command that runs one task at a time.

    Args:
        until: When to save the state and stop, as ``time.monotonic`` counts.
    """

    def __init__(self, until: float = math.inf) -> None:
        self.until = until

    def launch(self, tasks: Sequence[Task], say: Say, fail_fast: bool = False) -> Launched:
        """Run the tasks; see ``base.Launcher``."""
        stop = Stop(until=self.until)
        outcomes: list[Outcome] = []
        with stop.on_signals():
            for task in tasks:
                if stop() or (fail_fast and bad(outcomes)):
                    break
                outcomes += work(task, say, stop)
        return Launched(outcomes, stop.asked, late=stop.late)
