"""Prepared data, kept from the checks of a command to its tasks.

And from one task to the next of a process.
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
"""Variables of the environment that say where data are."""


def load(settings: Mapping[str, Any]) -> Splits:
    """As ``data.load``, of a cell's ``data`` group.

    The last one is kept, and shared: it is never changed.
    """
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
