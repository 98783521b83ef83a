"""Where tasks run: in this process, or in several. A new place is a file here with a ``Launcher``, and a line below."""

from __future__ import annotations

from vaebench.running.launchers.base import Launched, Launcher
from vaebench.running.launchers.inline import Inline
from vaebench.running.launchers.processes import Processes

__all__ = ["Launched", "Launcher", "choose"]


def choose(jobs: int, tasks: int) -> Launcher:
    """The launcher for so many tasks, ``jobs`` of them at a time."""
    return Inline() if jobs <= 1 or tasks <= 1 else Processes(jobs)
