"""A trained run taken in hand again, to be evaluated with other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.config.cells import Cell
from vaebench.config.compose import reevaluated
from vaebench.errors import UserError
from vaebench.results import run_files
from vaebench.results.store import Store, read_note
from vaebench.running.session import Session


class Stored(NamedTuple):
    """A run that is there, with the evaluation that is asked for.

    Attributes:
        folder: Where it is, ``.../NAME/seed-<n>``, as the user wrote it.
        cell: What was trained, as it is to be evaluated.
        seed: Its seed.
    """

    folder: Path
    cell: Cell
    seed: int


def stored(folder: Path, overrides: Sequence[str]) -> Stored:
    """The run in a folder, to be evaluated with these settings.

    Raises:
        UserError: If it is no run's folder, it was moved, or a setting is refused.
    """
    note, seed = read_note(folder)
    place = folder.resolve()
    config = reevaluated(note["config"], overrides)
    config["run"]["results"] = str(place.parent.parent)
    cell = Cell("", note["row"], note["column"], "", config)
    if cell.key != place.parent.name:
        raise UserError(
            f"{folder}: its settings do not fit its name; was it moved, or named by an "
            "earlier version (then: vaebench rekey)?"
        )
    return Stored(folder, cell, seed)


@contextlib.contextmanager
def opened(run: Stored) -> Iterator[Session]:
    """A session of one trained run, whose lock is held for the time of the block.

    Raises:
        UserError: If it is damaged or in use, cannot be written, or nothing is trained there yet.
    """
    store = Store(run.cell.run.results)
    if not (store.run_dir(run.cell.key, run.seed) / run_files.CHECKPOINT).exists():
        raise UserError(f"{run.folder}: nothing is trained there yet")
    try:
        with store.lock(run.cell.key, run.seed):
            session = Session(run.cell, store, [run.seed])
            session.check_trained()
            yield session
    except OSError as e:  # a read-only folder, a full disk
        raise UserError(f"{run.folder}: cannot be written: {e.strerror or e}") from None
