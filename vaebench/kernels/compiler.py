"""``kernel``: Numba's compiler as this package uses it, and where it keeps its programs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numba.extending
import platformdirs


def _cache_folder() -> Path:
    """Return a folder of the user's own for this version of the kernels and of Numba.

    It is below NUMBA_CACHE_DIR if that is set, else in the user's cache folder.
    """
    # Numba notices that the file of a function has changed, but not that of a function it calls. So
    # any change of any kernel gives all of them a new folder.
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())

    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("vaebench")) / "kernels"
    return root / digest.hexdigest()[:16]


numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]  # Numba makes its settings as it starts

Compiled = Callable[..., Any]
"""A compiled function as its callers see it: its arguments and results have types of Numba only."""


def intrinsic(function: Callable[..., object]) -> Compiled:
    """Declare a function that writes machine instructions.

    It is called without its first argument, the typing context.
    """
    return numba.extending.intrinsic(function)


def kernel(function: Compiled) -> Compiled:
    """Compile ``function`` when it is first called.

    It releases the GIL, and is kept on disk if there is a place.
    """
    try:
        return numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:  # no folder that can be written to
        return numba.njit(function, nogil=True, error_model="numpy")
