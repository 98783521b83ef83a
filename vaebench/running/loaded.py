"""Prepared data, kept in memory between the checks of a command and its tasks.

A process also keeps them from one task to the next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vaebench import data
from vaebench.data.files.fetch import MIRROR_ENV

if TYPE_CHECKING:
    from vaebench.data.splits import Splits

PLACES = ("VAEBENCH_DATA", MIRROR_ENV)
"""Environment variables that say where data are."""


def load(settings: Mapping[str, Any]) -> Splits:
    """Load the splits of a cell's ``data`` group, as ``data.load`` does.

    The last ones are kept and shared: they must not be changed.
    """
    # Everything that decides what is loaded is a hashable argument, and so a part of the cache's
    # key. That includes the function itself, which tests replace.
    return _load(
        data.load,
        json.dumps(settings, sort_keys=True),
        tuple(os.environ.get(name) for name in PLACES),
    )


@lru_cache(maxsize=1)
def _load(
    read: Callable[[Mapping[str, Any]], Splits], settings: str, places: tuple[str | None, ...]
) -> Splits:
    return read(json.loads(settings))
