"""Prepare the folder of a run, and find another run that a new one can go on from."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from vaebench.config.cells import Cell, canonical, identity
from vaebench.errors import UserError
from vaebench.files import parse_json, write_atomic
from vaebench.results import run_files
from vaebench.results.lock import Busy
from vaebench.results.store import Store
from vaebench.training import snapshots
from vaebench.training.build import Trio
from vaebench.training.run_state import RunState, evaluated_checkpoint, progress_of


def prepare(store: Store, cell: Cell, seed: int, data_hash: str, force: bool = False) -> RunState:
    """Prepare the folder of a run whose lock is held.

    Args:
        store: Where runs are kept.
        cell: The cell that is to be trained.
        seed: Seed of the run.
        data_hash: Hash of its data.
        force: Whether to throw away what is there.

    Returns:
        Where the seed stands.

    Raises:
        UserError: If the folder holds a run of other data or is damaged; it then stays as it is.
    """
    folder = store.run_dir(cell.key, seed)

    # Remove what a killed process has left. Since the lock is held, nobody else writes here.
    for leftover in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        leftover.unlink(missing_ok=True)

    if force:
        for name in run_files.MADE:
            (folder / name).unlink(missing_ok=True)
        for snapshot in snapshots.listed(folder):
            snapshot.path.unlink(missing_ok=True)

    note = folder / run_files.NOTE
    if note.exists() and not force:
        trained_on = _data_hash(note)
        if trained_on != data_hash:
            raise UserError(
                f"{folder}: trained on other data ({trained_on[:8]}, now {data_hash[:8]}); move it "
                "away, or run with --force"
            )

    s = progress_of(folder, seed)
    # Keep the note of a run that has begun: it names the cell for which it was trained, though
    # other cells may evaluate it.
    if s.update and note.exists():
        return s

    content = {
        "config": cell.config,
        "data_hash": data_hash,
        "row": cell.row,
        "column": cell.column,
    }
    content |= {"table": cell.table, "preset": cell.preset, "changed": list(cell.changed)}
    write_atomic(note, json.dumps(content, indent=1) + "\n")
    os.utime(folder.parent)  # tells results.index that a note in it is new
    return s


def extend(s: RunState, store: Store, cell: Cell, data_hash: str, trio: Trio) -> None:
    """Let a new run go on from a run with the same states, the one that got furthest, if any.

    If neither the objective nor the optimiser looks at the budget (``budget_free``), runs that
    differ only in ``train.updates`` pass through the same states, up to the shorter budget. The
    other run is only read. One that is damaged, or that a process works on, is passed over.

    Args:
        s: The run that has not begun; changed in place.
        store: Where runs are kept.
        cell: The cell of the run.
        data_hash: Hash of its data.
        trio: Its objective and optimiser, as its settings build them.
    """
    if cell.train.unit != "updates" or not trio.budget_free:
        return

    # The name of a run ends in a hash of all that decides its training, the budget included. Before
    # the hash it is the same for all runs of these data, model and objective.
    folders = store.root.glob(f"{cell.key.rpartition('-')[0]}-*/seed-{s.seed}")
    beginnings = [
        (other.update, other.folder)
        for folder in folders
        if (other := _beginning(folder, s.seed, cell, data_hash))
    ]

    # The one that got furthest first. Its state is read once more under its lock, since it may have
    # changed meanwhile.
    for _, folder in sorted(beginnings, reverse=True):
        with contextlib.suppress(Busy), store.lock(folder.parent.name, s.seed):
            other = _beginning(folder, s.seed, cell, data_hash)
            if other is None:
                continue

            # Snapshots of later updates than its checkpoint are left out: this run makes them
            # itself.
            names_of_snapshots = [
                snapshot.path.relative_to(folder)
                for snapshot in snapshots.listed(folder)
                if snapshot.update <= other.update
            ]

            # Copy the checkpoint last: without it this run counts as not begun.
            for name in (
                *map(str, names_of_snapshots),
                run_files.BEST,
                run_files.CURVE,
                run_files.CHECKPOINT,
            ):
                if (folder / name).exists():
                    (s.folder / name).parent.mkdir(exist_ok=True)
                    write_atomic(s.folder / name, (folder / name).read_bytes())

            s.__dict__.update(progress_of(s.folder, s.seed).__dict__)
            return


def _beginning(folder: Path, seed: int, cell: Cell, data_hash: str) -> RunState | None:
    """Return the state of another run if the cell's run would pass through it, else None."""
    train = cell.config["train"]
    try:
        note = parse_json((folder / run_files.NOTE).read_bytes())
        their_config = note["config"]
        budget = their_config["train"]["updates"]
        with_our_budget = {
            **their_config,
            "train": {**their_config["train"], "updates": train["updates"]},
        }
        # The same run if it had this cell's budget? Only settings that decide the training count.
        same = canonical(identity(with_our_budget)) == canonical(identity(cell.config))
        state = progress_of(folder, seed)
        if (
            not same
            or state.shed
            or note["data_hash"] != data_hash
            or state.update >= train["updates"]
        ):
            return None
        # Raises if its best checkpoint is missing, damaged or of another update, and so not worth a
        # copy.
        evaluated_checkpoint(state, "valid_bound")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None

    # The end of a run is validated, even if it is no multiple of the interval. A longer run would
    # not validate there, so it does not pass through that state.
    return None if state.update == budget and budget % train["valid_every"] else state


def _data_hash(note: Path) -> str:
    """Return the hash of the data that a run was trained on, from its config.json."""
    try:
        return str(parse_json(note.read_bytes())["data_hash"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{note}: damaged, so its data are unknown; move the run away, or run with --force"
        ) from None
