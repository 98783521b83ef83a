"""Hand-made loops that know what a tensor library cannot: that inputs and latents are bits. Compiled by Numba.

Each has plain PyTorch code as its equal, which its tests hold it to. Nothing here is imported before it is used, so
that a machine without Numba misses nothing but the speed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

RULES = ("nvil", "wake_sleep")
MODELS = ("sbn", "fdarn", "darn")
"""Objectives and models, by their registered names, that have kernels. The optimiser is SGD."""


_wanted = True


@contextmanager
def use(wanted: bool) -> Iterator[None]:
    """Allow kernels in this block, or forbid them: ``run.engine=plain`` means that there is none anywhere."""
    global _wanted
    before = _wanted
    _wanted = wanted
    try:
        yield
    finally:
        _wanted = before


def allowed() -> bool:
    """Whether code that has a kernel may take it here: nothing forbids it, and there are kernels on this machine."""
    return _wanted and not missing()


def loaded() -> bool:
    """Whether this process has loaded the compiler already, which takes as long as a second."""
    return f"{__name__}.compiler" in sys.modules


@lru_cache(maxsize=1)
def missing() -> str:
    """Why there are no kernels on this machine, in words; '' if there are."""
    try:
        import numba
    except ImportError as e:
        return " ".join(str(e).split())
    return "" if hasattr(numba, "njit") else "numba is broken"


def covers(config: dict[str, Any]) -> bool:
    """Whether there are kernels for what a cell's configuration trains."""
    kinds = tuple(config[part]["name"] for part in ("objective", "model", "optim"))
    return kinds[0] in RULES and kinds[1] in MODELS and kinds[2] == "sgd"
