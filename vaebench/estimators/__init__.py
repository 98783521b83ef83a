"""Numbers from a model: bounds, importance-weighted NLLs, log Z, exact answers.

No settings and no protocol. ``importance`` and ``bound`` are functions here; ``exact``, ``log_z``,
``jackknife`` and others are modules. All of them are loaded when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

FUNCTIONS = {"importance": "importance_weighted", "bound": "variational"}
"""Function -> its file. No file has the name of a function, because it would hide the function."""

MODULES = ("exact", "jackknife", "log_z", "weights")
"""Files whose functions a user calls."""

__all__ = ["bound", "exact", "importance", "jackknife", "log_z", "weights"]


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return getattr(import_module(f"{__name__}.{FUNCTIONS[name]}"), name)
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
