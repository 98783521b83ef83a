"""A trained run taken in hand again, to be evaluated with other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.results.store import Store
from vaebench.running.session import Session


@contextlib.contextmanager
def opened(folder: Path, note: dict[str, Any], seed: int, config: dict[str, Any]) -> Iterator[Session]:
    """A session of one trained run, whose lock is held for the time of the block.

    Args:
        folder: The run's, ``.../NAME/seed-<n>``.
        note: What its ``config.json`` says.
        seed: Its seed.
        config: Its configuration with the evaluation that is asked for.

    Raises:
        UserError: If it was moved, is damaged or in use, or nothing is trained there yet.
    """
    place = folder.resolve()
    root = place.parent.parent
    config["run"]["results"] = str(root)
    cell = Cell("", note["row"], note["column"], "", config)
    if cell.key != place.parent.name:
        raise UserError(
            f"{folder}: its settings do not fit its name; was it moved, or named by an "
            "earlier version (then: vaebench rekey)?"
        )

    store = Store(root)
    with store.lock(cell.key, seed):
        session = Session(cell, store, [seed])
        session.check_trained()
        yield session
