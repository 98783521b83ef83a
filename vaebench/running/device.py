"""The device of ``run.device``: its name, and torch's object for it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vaebench.errors import UserError

if TYPE_CHECKING:
    import torch

DRIVERS = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/dxg",
    "/dev/nvmap",
    "/dev/nvhost-ctrl",
    "/dev/kfd",
)
"""Files through which a program reaches a GPU under Linux: those of NVIDIA's drivers, also on Tegra
and in a virtual machine of Windows, and those of AMD's."""


def device_name(setting: str) -> str:
    """Return ``run.device``, with ``auto`` decided: ``cuda`` if there is a GPU, else ``cpu``.

    Torch is imported only where there may be a GPU, because that takes seconds.
    """
    if setting != "auto":
        return setting
    if not _may_have_gpu():
        return "cpu"

    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_device(setting: str) -> torch.device:
    """Return the torch device of ``run.device``; UserError if this machine does not have it."""
    import torch

    kind, _, index = device_name(setting).partition(":")
    if kind == "cpu":
        return torch.device(kind)

    # Without an index it is the first device, so there must be one at least.
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:  # before torch reads it, whose index has one byte
        raise UserError(
            f"run.device={setting}: this machine has {count} CUDA devices; allowed: auto, cpu"
        )
    return torch.device(kind, int(index)) if index else torch.device(kind)


def _may_have_gpu() -> bool:
    """Whether a file of a GPU's driver exists, so that torch must be asked.

    On systems other than Linux this is always True.
    """
    return sys.platform != "linux" or any(os.path.exists(place) for place in DRIVERS)
