"""The clock by which trainings and evaluations are timed."""

from __future__ import annotations

import time

import torch

PROCESSOR = "processor"
"""The clock that counts the work of this process, which other programs hardly disturb."""


def clock(device: torch.device) -> str:
    """Return the clock for work on a device: PROCESSOR on a CPU with one thread, else ''.

    The empty text means the wall clock. With several threads the processor works more seconds than
    pass; if it waits for a GPU, it works fewer.
    """
    return PROCESSOR if device.type == "cpu" and torch.get_num_threads() == 1 else ""


def seconds(device: torch.device) -> float:
    """Return seconds by the clock of a device, counted from an arbitrary moment."""
    return time.process_time() if clock(device) else time.monotonic()
