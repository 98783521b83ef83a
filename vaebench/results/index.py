"""What is known of all runs of a store, read from the runs at once.

For a large store it is also kept for the next command, as a cache: one file of SQLite for each
store in the user's cache folder. The file may be removed at any time, and is made anew when the
code has changed. It is never trusted blindly: a folder of runs is read again if it has changed
since (a run was added, removed or begun anew), a result if its file has another time or size.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from vaebench.config.cells import readable
from vaebench.errors import UserError
from vaebench.results import digest, run_files
from vaebench.results.rekey import known_options, present_key
from vaebench.results.result_file import warn_once
from vaebench.results.store import NoNote, Results, Store, read_note, seeds_in
from vaebench.work.steps import steps

log = logging.getLogger(__name__)

LARGE = 1000
"""Least number of runs in a store for which the cache is written to a file."""

SETTLED = 2_000_000_000
"""Nanoseconds after which any further change of a file shows in its time. What changed more
recently is read again the next time."""

PATIENCE_SECONDS = 10
"""How long a command waits for another one that writes to the cache."""

TABLES = """
create table code (stamp text);
create table folders (key text primary key, changed int);
create table runs (
  key text, seed int, tbl text, row text, preset text, changes text, about text, present text,
  time int, size int, status text, updates int, line text, cost text,
  primary key (key, seed)
) without rowid;
create index of_table on runs (tbl);
"""


Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def _question(
    ask: Callable[Concatenate[Index, Asked], Answer],
) -> Callable[Concatenate[Index, Asked], Answer]:
    """Let a question be answered without the cache if the cache fails while it is asked."""

    @functools.wraps(ask)
    def with_fallback(index: Index, /, *args: Asked.args, **keywords: Asked.kwargs) -> Answer:
        try:
            return ask(index, *args, **keywords)
        except sqlite3.Error as e:
            if not index.in_place:
                raise

            # From here on the index is in memory, so the second try does not touch the file.
            index.do_without(e)
            return ask(index, *args, **keywords)

    return with_fallback


class Index:
    """What is known of the runs of a store, updated as far as each question needs it.

    If another command keeps the cache busy, or it turns out to be damaged, all is read anew.

    Attributes:
        in_place: Whether the answers come from the file of the cache.

    Args:
        store: The store with the runs.
        kept: The file of the cache; None: nothing is kept.
        known: Results that this command has read already.
    """

    def __init__(self, store: Store, kept: Path | None, known: Results | None = None) -> None:
        self.store = store
        self._read = known or {}
        self.kept = kept
        self._known = known_options()
        self._code = digest.code()

        self.in_place = False
        if kept is not None and kept.is_file():
            self._db = _connected(kept)

            # The texts in the cache were made by some code from some configuration. They only count
            # if both are the same now. A file that is in use, or has no such table, raises
            # OperationalError. Other errors mean a damaged file, which ``opened`` handles.
            with contextlib.suppress(sqlite3.OperationalError):
                if self._db.execute("select stamp from code").fetchall() == [(self._code,)]:
                    self.in_place = True
                    return
            self._db.close()  # it was made by other code
        self._begin()

    def _begin(self) -> None:
        """Begin anew, in memory."""
        self.in_place = False
        self._db = _connected(":memory:")
        self._db.executescript(TABLES)
        self._db.execute("insert into code values (?)", (self._code,))

    def do_without(self, why: sqlite3.Error) -> None:
        """Go on without the file of the cache, which has failed. A damaged one is removed."""
        log.debug("%s: no index: %s", self.store.root, why)
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

        if self.kept is None or not _removed(self.kept, why):
            self.kept = None  # it is in use: leave it as it is
        self._begin()

    def close(self) -> None:
        """Write the cache if there are many runs, and close it."""
        with contextlib.suppress(sqlite3.Error, OSError):  # without the cache all is read anew
            self._db.commit()

            # A cache in place has its changes by the commit. One in memory is written as a whole.
            (runs,) = self._db.execute("select count(*) from runs").fetchone()
            if self.kept is not None and not self.in_place and runs >= LARGE:
                self._save(self.kept)
        self._db.close()

    def _save(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)

        # Another command may read the old file meanwhile, so the new one replaces it in one step.
        draft = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            with contextlib.closing(sqlite3.connect(draft)) as file:
                self._db.backup(file)
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)

    @_question
    def listing(self) -> list[tuple[str, int, str, int | None, str, str]]:
        """Return key, seed, status, updates and two texts for each run, by key and seed.

        The texts say what it was made for, and its outcome.
        """
        self._folders()
        self._results()
        columns = "key, seed, status, updates, about, line"
        return self._db.execute(
            f"select {columns} from runs where status is not null order by key, seed"
        ).fetchall()

    @_question
    def others(
        self, table: str, known: set[str]
    ) -> list[tuple[str, tuple[str, ...], int, tuple[str, ...]]]:
        """Return the runs of a table whose keys are not ``known``, grouped by their settings.

        Each group has its preset, its changes, the number of runs, and the rows they belong to.
        """
        self._folders()
        rows_of: dict[tuple[str, str], list[str]] = {}  # (preset, changes) -> a row for each run
        runs = self._db.execute(
            "select key, row, preset, changes from runs where tbl = ? order by key, seed", (table,)
        )
        for key, row, preset, changes in runs:
            if key not in known:
                rows_of.setdefault((preset, changes), []).append(row)

        return [
            (preset, tuple(json.loads(changes)), len(rows), tuple(dict.fromkeys(rows)))
            for (preset, changes), rows in rows_of.items()
        ]

    @_question
    def presets(self) -> set[str]:
        """Return the presets by which the runs were made, as far as they say it."""
        self._folders()
        return {
            preset
            for (preset,) in self._db.execute("select distinct preset from runs where preset != ''")
        }

    @_question
    def runs(self) -> list[tuple[str, int]]:
        """Return key and seed of every run."""
        self._folders()
        return self._db.execute("select key, seed from runs").fetchall()

    @_question
    def outdated(self) -> list[tuple[str, int, str]]:
        """Return key, seed and present key of the runs that have an earlier name.

        See ``results.rekey``.
        """
        self._folders()
        return self._db.execute(
            "select key, seed, present from runs where present != '' order by key, seed"
        ).fetchall()

    @_question
    def costs(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """Return ``digest.cost`` of the runs with the same data, model and objective as a key.

        These three are the readable part of a key.
        """
        self._folders()
        recorded: list[dict[str, Any]] = []
        for prefix in sorted({readable(key) for key in keys}):
            # All keys that begin with the prefix and a hyphen: "." is the character after "-". The
            # table is in the order of keys, so a range of them is found at once.
            bounds = (f"{prefix}-", f"{prefix}.")
            self._results("where key > ? and key < ?", bounds)
            rows = self._db.execute(
                "select cost from runs where key > ? and key < ? and cost is not null", bounds
            )
            recorded += (json.loads(text) for (text,) in rows)
        return recorded

    # ----------------------------------------------------------------------------------- up to date

    def _folders(self) -> None:
        """Read the notes in folders that have changed."""
        recorded = dict(self._db.execute("select key, changed from folders"))  # key -> its time
        root = self.store.root
        now = time.time_ns()

        with os.scandir(root) if root.is_dir() else contextlib.nullcontext(()) as entries:
            folders = [entry for entry in entries if entry.is_dir()]

        # A folder gets a new time when a run is added or removed in it, and when a run in it begins
        # anew (``training.resume`` sees to that). A change in the same moment as this reading could
        # leave no trace in the time, so a recent time is kept as 0, which no folder has.
        for i in steps("folders read", len(folders)):
            changed = folders[i].stat().st_mtime_ns
            if recorded.pop(folders[i].name, None) != changed:
                self._notes(folders[i].name, changed if now - changed > SETTLED else 0)

        # What was not popped is no longer on the disk.
        for key in recorded:
            self._db.execute("delete from folders where key = ?", (key,))
            self._db.execute("delete from runs where key = ?", (key,))

    def _notes(self, key: str, changed: int) -> None:
        """Read the notes of a folder's runs, and keep ``changed`` as the folder's time."""
        folder = self.store.root / key
        seeds = seeds_in(folder)

        self._db.execute("insert or replace into folders values (?, ?)", (key, changed))
        for (seed,) in self._db.execute("select seed from runs where key = ?", (key,)).fetchall():
            if seed not in seeds:
                self._db.execute("delete from runs where key = ? and seed = ?", (key, seed))

        # Only the columns of the note are updated: those of the result have a time of their own.
        for seed in seeds:
            place = folder / f"seed-{seed}"
            facts = (*_of_note(place), present_key(place, self._known) or "")
            self._db.execute(
                "insert into runs (key, seed, tbl, row, preset, changes, about, present) values "
                "(?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set tbl = excluded.tbl, row = "
                "excluded.row, preset = excluded.preset, changes = excluded.changes, about = "
                "excluded.about, present = excluded.present",
                (key, seed, *facts),
            )

    def _results(self, where: str = "", among: tuple[str, ...] = ()) -> None:
        """Read the results that have changed.

        Args:
            where: An SQL condition that picks runs; empty for all.
            among: The values of its placeholders.
        """
        # Plain text instead of a Path for each run, of which there may be very many.
        root = os.fspath(self.store.root)
        stale = []  # (key, seed, time, size) of the results to read
        for key, seed, *recorded in self._db.execute(
            f"select key, seed, time, size from runs {where}", among
        ):
            try:
                file_status = os.stat(f"{root}/{key}/seed-{seed}/{run_files.RESULT}")
            except OSError:
                # No result yet. Whether the run has begun may have changed all the same.
                stale.append((key, seed, None, None))
                continue
            stamp = [file_status.st_mtime_ns, file_status.st_size]
            if stamp != recorded:
                stale.append((key, seed, *stamp))

        now = time.time_ns()
        for key, seed, changed, size in stale:
            # Too recent to be trusted (see SETTLED): without a time it is read again the next time.
            if changed is not None and now - changed < SETTLED:
                changed = None

            # A run without a readable result keeps no time either, so it is read again each time.
            # Without a status it is no part of a listing.
            facts = self._result(key, seed)
            values = (changed, size) if facts else (None, None)
            self._db.execute(
                "update runs set time = ?, size = ?, status = ?, updates = ?, line = ?, cost = ? "
                "where key = ? and seed = ?",
                (*values, *(facts or (None,) * 4), key, seed),
            )

    def _result(self, key: str, seed: int) -> tuple[str, int | None, str, str] | None:
        """Return the outcome of a run.

        None if it has not begun, and, with a warning, if it cannot be read.
        """
        try:
            result = self._read.get((key, seed)) or self.store.result(key, seed)
        except UserError as e:
            log.warning("%s", e)
            return None
        if result is None:
            return None

        outcome = digest.found({**result, "key": key, "seed": seed})
        return outcome.status, outcome.updates, outcome.line, json.dumps(outcome.cost)


@contextlib.contextmanager
def opened(store: Store, known: Results | None = None) -> Iterator[Index]:
    """Return the index of a store, for the time of the block.

    ``known`` has results that have been read already.
    """
    with contextlib.ExitStack() as stack:
        try:
            index = Index(store, _place(store), known)
            stack.callback(index.close)
        except (sqlite3.Error, OSError) as e:
            # Another command has it open, it is damaged, or the disk is full: do without it.
            log.debug("%s: no index: %s", store.root, e)

            _removed(_place(store), e)
            index = Index(store, None, known)
            stack.callback(index.close)

        yield index


def _removed(file: Path, why: Exception) -> bool:
    """Remove the file of a cache if an error means that it is damaged. Returns whether it does.

    Other errors mean that the file is in use, or that the disk is full.
    """
    # sqlite3.OperationalError, a subclass, is raised for all that is no fault of the file.
    damaged = isinstance(why, sqlite3.DatabaseError) and not isinstance(
        why, sqlite3.OperationalError
    )
    if damaged:
        with contextlib.suppress(OSError):
            file.unlink()
    return damaged


def _connected(place: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(place, timeout=PATIENCE_SECONDS, isolation_level="EXCLUSIVE")
    db.execute("pragma synchronous = off")  # whatever is lost can be read again
    return db


def _place(store: Store) -> Path:
    """Return the file of the cache of a store."""
    import hashlib

    import platformdirs

    name = hashlib.sha256(os.fsencode(store.root.resolve())).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("vaebench")) / "stores" / f"{name}.sqlite"


def _of_note(folder: Path) -> tuple[str, str, str, str, str]:
    """Return table, row, preset, changes and ``digest.of`` from a run's note.

    They are empty, and '-', if there is none or, with a warning, if it is damaged.
    """
    try:
        note, _ = read_note(folder)
    except UserError as e:
        if not isinstance(e, NoNote):
            warn_once(folder, str(e))
        return "", "", "", "[]", "-"

    preset = note.get("preset")
    table = str(note.get("table") or "") if isinstance(preset, str) else ""
    changes = [str(text) for text in note.get("changed") or []]
    return (
        table,
        str(note.get("row") or ""),
        str(preset or ""),
        json.dumps(changes),
        digest.of(note),
    )
