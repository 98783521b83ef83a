"""Settings of the shipped tables that models, objectives and optimisers are known to take.

Not built to be checked. To build a model, even one without memory, loads torch, which takes longer
than all else that a plan needs. So the settings of all shipped tables and presets are recorded in
``accepted.txt``, a digest a line, by ``scripts/record_defaults.py``. A test builds what is
recorded. Settings that are not recorded are checked by building.
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
    """What the data set of a cell tells about itself; None of an unknown one."""
    from vaebench.data import DATA

    cls = DATA.get(cell.config["data"]["name"])
    return cls.of(cell.config["data"]) if cls else None


def shape_of(cell: Cell) -> tuple[int, ...]:
    """Of an example of the cell's data; (100,) where only the files know, and they are gone."""
    loader = loader_of(cell)
    return loader.shape if loader and loader.shape else (100,)


def digest(cell: Cell) -> str:
    """A name of all that decides whether a cell is accepted.

    Whatever files and devices are there.
    """
    loader = loader_of(cell)
    data = [cell.config["data"]["name"], str(loader.kind) if loader else "", list(shape_of(cell))]
    text = canonical(
        [data, cell.train.precision, cell.train.order, *(cell.config[part] for part in PARTS)]
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=1)
def recorded() -> frozenset[str]:
    """The digests of what is known to be accepted; none if this installation has no record."""
    try:
        return frozenset(RECORD.read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()
