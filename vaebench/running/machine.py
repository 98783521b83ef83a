"""The machine that a session runs on.

This is its device in words, its memory, and the versions of what computes.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch

from vaebench import __version__


def describe(device: torch.device, threads: int) -> str:
    """Return the device in words, for the results."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({_cpu_name()}, {threads} thread{'s' if threads != 1 else ''})"


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    try:
        model_name = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        return model_name[1].strip() if model_name else platform.processor() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


@contextlib.contextmanager
def threads_kept() -> Iterator[None]:
    """Restore torch's number of threads after the block, in which a session may set its own."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory that this process has used, in MiB.

    On a GPU it is what torch allocated, else the resident set.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # In bytes on macOS, in KiB elsewhere.
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return rss / 2**20 if sys.platform == "darwin" else rss / 2**10


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of vaebench, torch and python, and the commit ('' for a wheel)."""
    # An installed wheel has no repository two folders above this file.
    repository = Path(__file__).resolve().parents[2]
    commit = ""
    if (repository / ".git").exists():
        try:
            git = ["git", "-C", str(repository)]
            commit = subprocess.run(
                [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
            ).stdout.strip()
            dirty = subprocess.run(
                [*git, "status", "--porcelain", "vaebench", "conf"], capture_output=True, text=True
            ).stdout
            commit += "+changes" if commit and dirty.strip() else ""
        except OSError:
            pass

    return {
        "vaebench": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }


def keep_freed_memory() -> None:
    """Tell glibc not to return freed memory to the system.

    Page faults would cost as much as the arithmetic, because the system clears every page before it
    hands it out again. The process keeps about as much as its peak.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the largest value that it accepts
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


# The numbers of these options in malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
