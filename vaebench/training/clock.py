"""The clock by which trainings and evaluations are timed."""

from __future__ import annotations

import time

import torch

PROCESSOR = "processor"
"""The clock that counts what this process has worked, which other programs hardly disturb."""


def clock(device: torch.device) -> str:
    """The clock of work on a device: PROCESSOR on a CPU with one thread, else '', that of the wall.

    Several threads work more seconds than pass, and a processor that waits for a GPU works fewer.
    """
    return PROCESSOR if device.type == "cpu" and torch.get_num_threads() == 1 else ""


def seconds(device: torch.device) -> float:
    """Seconds by the clock of a device, from an arbitrary beginning."""
    return time.process_time() if clock(device) else time.monotonic()
