"""``kernel``: Numba's compiler as this package uses it, and where it keeps its programs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numba
import platformdirs


def _cache_folder() -> Path:
    """A folder of the user's own, another one for every version of the kernels and of Numba.

    Numba notices that the file of a function has changed, but not that of a function it calls.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return Path(platformdirs.user_cache_dir("vaebench")) / "kernels" / digest.hexdigest()[:16]


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(_cache_folder())


def kernel(function: Callable) -> Callable:
    """Compile ``function`` when it is first called; it releases the GIL and is kept on disk, if there is a place."""
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder that can be written to
        return numba.njit(**settings)(function)
