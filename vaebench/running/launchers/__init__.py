"""Launchers, which decide where tasks run: in this process, in several, or elsewhere.

A new place to run is a file here with a ``Launcher``, and a line below. A new engine, which runs
jobs elsewhere, is a file with an ``engine.Engine`` and an entry of ``ENGINES``.
"""

from __future__ import annotations

import math
from importlib import import_module

from vaebench.errors import UserError
from vaebench.running.launchers.base import Launched, Launcher
from vaebench.running.launchers.elsewhere import Elsewhere
from vaebench.running.launchers.inline import Inline
from vaebench.running.launchers.processes import Processes
from vaebench.settings.records import RunSettings

ENGINES = {"slurm": "Slurm", "ray": "Ray"}
"""Engine, by its name in ``run.launcher`` and of its file here -> its class."""

__all__ = ["Launched", "Launcher", "choose"]


def choose(settings: RunSettings, jobs: int, tasks: int, until: float = math.inf) -> Launcher:
    """Return the launcher for so many tasks, ``jobs`` of them at a time.

    Args:
        settings: Settings of ``run``.
        jobs: Number of tasks at a time.
        tasks: Number of tasks.
        until: When to save the state and stop, as ``time.monotonic`` counts; for this machine only.

    Raises:
        UserError: If the engine of ``run.launcher`` cannot be had, or if ``until`` is given for an
            engine, which has limits of its own.
    """
    if settings.launcher in ENGINES:
        # Loaded only if it is asked for: an engine may need a package that is not installed.
        module = import_module(f"{__name__}.{settings.launcher}")
        engine = getattr(module, ENGINES[settings.launcher])
        if until != math.inf:
            raise UserError(f"--minutes: for runs on this machine; {engine.limit}")
        return Elsewhere(engine(settings))
    return Inline(until) if jobs <= 1 or tasks <= 1 else Processes(jobs, until)
