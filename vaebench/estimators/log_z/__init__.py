"""log Z of a Boltzmann machine: exact, by annealed importance sampling, by parallel tempering."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["LogZ", "ais", "exact", "parallel_tempering"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.methods"), name)
