"""A record of settings that models, objectives and optimisers are known to accept.

With it the settings of shipped tables need not be checked by building models. To build a model,
even one that takes no memory, loads torch, which takes longer than all else that a plan needs. So
``scripts/record_defaults.py`` records the settings of all shipped tables and presets in
``accepted.txt``, a digest a line. A test builds what is recorded. Settings that are not recorded
are checked by building.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config.cells import Cell, canonical

if TYPE_CHECKING:
    from vaebench.data.loader import Loader

RECORD = Path(__file__).with_name("accepted.txt")
"""The digests, sorted."""

PARTS = ("model", "objective", "optim")
"""Sections of a configuration that are built."""


def loader_of(cell: Cell) -> Loader | None:
    """Return the loader of a cell's data set; None if the data set is unknown."""
    from vaebench.data import DATA

    cls = DATA.get(cell.config["data"]["name"])
    return cls.of(cell.config["data"]) if cls else None


def shape_of(cell: Cell) -> tuple[int, ...]:
    """Return the shape of an example; (100,) if only the files know it, and they do not exist."""
    loader = loader_of(cell)
    return loader.shape if loader and loader.shape else (100,)


def digest(cell: Cell) -> str:
    """Return a hash of all that decides whether a cell's settings are accepted.

    It does not depend on which files and devices exist.
    """
    # Of the data only what a model is told without reading them: name, kind and shape.
    loader = loader_of(cell)
    data = [cell.config["data"]["name"], str(loader.kind) if loader else "", list(shape_of(cell))]
    text = canonical(
        [data, cell.train.precision, cell.train.order, *(cell.config[part] for part in PARTS)]
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=1)
def recorded() -> frozenset[str]:
    """Return the digests of all that is recorded; none if this installation has no record."""
    try:
        return frozenset(RECORD.read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()
