"""A trained run taken in hand again, to be evaluated with other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.config.cells import Cell
from vaebench.config.compose import of_other_data, reevaluated
from vaebench.errors import UserError
from vaebench.evaluation.examined import check_kind
from vaebench.results import run_files, shipped_models
from vaebench.results.store import Store
from vaebench.running.session import Session


class Stored(NamedTuple):
    """A run that is there, with the evaluation that is asked for.

    Attributes:
        folder: Where it is, ``.../NAME/seed-<n>``, as the user wrote it.
        cell: What was trained, as it is to be evaluated.
        seed: Its seed.
        data: The ``data`` settings of other data to evaluate it on; None: its own.
    """

    folder: Path
    cell: Cell
    seed: int
    data: Mapping[str, Any] | None = None


def stored(folder: Path, note: Mapping[str, Any], seed: int, overrides: Sequence[str]) -> Stored:
    """A run, to be evaluated with these settings.

    Args:
        folder: Where it is.
        note: What its ``config.json`` says.
        seed: Its seed.
        overrides: Of ``eval``, ``run`` and ``data.mirror``; ``data=NAME`` with its settings for other data.

    Raises:
        UserError: If a setting is refused, or other data that the model cannot read.
    """
    data, rest = of_other_data(overrides)
    config = reevaluated(note["config"], rest)
    if data is not None:
        check_kind(config["data"], data)
    config["run"]["results"] = str(folder.resolve().parent.parent)
    config["run"]["track"] = []  # trackers follow a run, not what is measured of it later
    return Stored(folder, Cell("", note["row"], note["column"], "", config), seed, data)


def in_own_runs(run: Stored, root: Path) -> Stored:
    """The run among the user's own: a shipped one is copied below ``root``, see ``shipped_models.own``.

    What is refused should be known before, by ``stored``: it leaves no copy then.
    """
    folder = shipped_models.own(run.folder, root)
    own = {**run.cell.config["run"], "results": str(folder.resolve().parent.parent)}
    return run._replace(folder=folder, cell=replace(run.cell, config={**run.cell.config, "run": own}))


@contextlib.contextmanager
def opened(run: Stored) -> Iterator[Session]:
    """A session of one trained run, whose lock is held for the time of the block.

    Raises:
        UserError: If it was moved, is damaged or in use, cannot be written, nothing is trained there yet, or its model
            cannot read the other data.
    """
    key = run.cell.key
    if key != run.folder.resolve().parent.name:
        raise UserError(
            f"{run.folder}: its settings do not fit its name; was it moved, or named by an "
            "earlier version (then: vaebench rekey)?"
        )

    store = Store(run.cell.run.results)
    if not (store.run_dir(key, run.seed) / run_files.CHECKPOINT).exists():
        raise UserError(f"{run.folder}: nothing is trained there yet")
    try:
        with store.lock(key, run.seed):
            session = Session(run.cell, store, [run.seed])
            session.check_trained()
            if run.data is not None:
                session.examine(run.data)
            yield session
    except OSError as e:  # a read-only folder, a full disk
        raise UserError(f"{run.folder}: cannot be written: {e.strerror or e}") from None
