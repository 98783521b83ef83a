"""Where tasks run: in this process, in several, or elsewhere.

A new place is a file here with a ``Launcher``, and a line below. What carries jobs out elsewhere is a file with an
``engine.Engine``.
"""

from __future__ import annotations

from vaebench.running.launchers.base import Launched, Launcher
from vaebench.running.launchers.elsewhere import Elsewhere
from vaebench.running.launchers.inline import Inline
from vaebench.running.launchers.processes import Processes
from vaebench.settings.records import RunSettings

__all__ = ["Launched", "Launcher", "choose"]


def choose(settings: RunSettings, jobs: int, tasks: int) -> Launcher:
    """The launcher for so many tasks, ``jobs`` of them at a time.

    Raises:
        UserError: If the engine of ``run.launcher`` cannot be had.
    """
    if settings.launcher == "slurm":
        from vaebench.running.launchers.slurm import Slurm

        return Elsewhere(Slurm(settings))
    if settings.launcher == "ray":
        from vaebench.running.launchers.ray import Ray

        return Elsewhere(Ray(settings))
    return Inline() if jobs <= 1 or tasks <= 1 else Processes(jobs)
