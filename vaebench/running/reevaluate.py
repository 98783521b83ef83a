"""Evaluating a trained run again, with other settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vaebench.config import catalogue
from vaebench.config.cells import Cell
from vaebench.config.compose import of_other_data, reevaluated
from vaebench.errors import Interrupted, UserError
from vaebench.evaluation.examined import check_kind
from vaebench.results import run_files, shipped_models
from vaebench.results.store import Store, read_note
from vaebench.running.session import Session
from vaebench.settings.defaults import results_root
from vaebench.work.events import ShouldStop, never

if TYPE_CHECKING:
    import numpy as np


class Stored(NamedTuple):
    """An existing run, with the evaluation that is asked for.

    Attributes:
        folder: Its folder, ``.../NAME/seed-<n>``, as the user wrote it.
        cell: The cell that was trained, with the settings of the new evaluation.
        seed: Its seed.
        data: The ``data`` settings of other data to evaluate it on; None for its own.
    """

    folder: Path
    cell: Cell
    seed: int
    data: Mapping[str, Any] | None = None


class Cases(NamedTuple):
    """What is known of each example of a run's evaluation; see ``each_case``.

    Attributes:
        run: Name and seed of the run.
        data: Hash of the split.
        split: The split that the examples are from.
        places: Their positions in the split, (n,).
        columns: Name -> (n,).
        samples: Number of samples of the importance-weighted NLL; None without one.
    """

    run: str
    data: str
    split: str
    places: np.ndarray
    columns: dict[str, np.ndarray]
    samples: int | None


def asked_for(words: Sequence[str], failed: Callable[[UserError], None]) -> list[Stored]:
    """Return the runs that a user names, with the evaluation settings, among the user's own runs.

    A shipped run is copied to them, but only after everything that may be refused was checked.

    Args:
        words: Names of runs, or a table and a row of a shipped one; and settings.
        failed: Called with the error of each run that cannot be read, if there are others.

    Raises:
        UserError: If nothing is named, a setting is refused, or the only run cannot be read.
    """
    names, overrides = shipped_models.names_and_settings(words)
    root = results_root(dict(text.split("=", 1) for text in overrides).get("run.results"))
    folders = shipped_models.chosen(root, names, catalogue.options("table"))
    if not folders:
        raise UserError(
            "no run given: name run directories, such as those `vaebench ls runs` lists"
        )

    notes = []
    for folder in folders:
        try:
            notes.append((folder, *read_note(folder)))
        except UserError as e:
            if len(folders) == 1:
                raise
            failed(e)

    # First check the settings of all runs, then copy the shipped ones: a refusal leaves no copy.
    runs = [stored(*note, overrides) for note in notes]
    return [in_own_runs(run, root) for run in runs]


def stored(folder: Path, note: Mapping[str, Any], seed: int, overrides: Sequence[str]) -> Stored:
    """Return a run that is to be evaluated with these settings.

    Args:
        folder: Its folder.
        note: Content of its ``config.json``.
        seed: Its seed.
        overrides: Settings of ``eval``, ``run`` and ``data.mirror``; ``data=NAME`` with its
            settings for other data.

    Raises:
        UserError: If a setting is refused, or the model cannot read the other data.
    """
    # Other data are kept apart from the run's settings: its own data are a part of its name.
    data, rest = of_other_data(overrides)
    config = reevaluated(note["config"], rest)
    if data is not None:
        check_kind(config["data"], data)

    config["run"]["results"] = str(folder.resolve().parent.parent)
    config["run"]["track"] = []  # trackers follow a training, not later evaluations
    return Stored(folder, Cell("", note["row"], note["column"], "", config), seed, data)


def in_own_runs(run: Stored, root: Path) -> Stored:
    """Return the run among the user's own runs.

    A shipped one is copied below ``root``; see ``shipped_models.own``. Call ``stored`` first: then
    a setting that is refused leaves no copy behind.
    """
    folder = shipped_models.own(run.folder, root)
    run_settings = {**run.cell.config["run"], "results": str(folder.resolve().parent.parent)}
    return run._replace(
        folder=folder, cell=replace(run.cell, config={**run.cell.config, "run": run_settings})
    )


@contextlib.contextmanager
def opened(run: Stored) -> Iterator[Session]:
    """Open a session of one trained run, whose lock is held for the time of the block.

    Raises:
        UserError: If the run was moved, is damaged or in use, cannot be written, nothing is trained
            there yet, or its model cannot read the other data.
    """
    key = run.cell.key
    if key != run.folder.resolve().parent.name:
        raise UserError(
            f"{run.folder}: its settings do not fit its name; was it moved, or named by an "
            "earlier version (then: vaebench rekey)?"
        )

    # Looked for before the lock is taken, which would make a folder.
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
    except OSError as error:  # a read-only folder, a full disk
        raise UserError(f"{run.folder}: cannot be written: {error.strerror or error}") from None


def each_case(run: Stored, should_stop: ShouldStop = never) -> Cases:
    """Return what is known of each example of a run's evaluation.

    Raises UserError as ``opened`` does, and Interrupted when ``should_stop`` returns True.
    """
    with opened(run) as session:
        settings = session.cell.eval
        try:
            places, columns = session.each_case(should_stop)
        except Interrupted:
            raise Interrupted("interrupted; nothing was written") from None

        data = session.examined.splits.hash_of(settings.split)
        name = f"{run.cell.key}/seed-{run.seed}"
        return Cases(name, data, settings.split, places, columns, settings.iw_samples)
