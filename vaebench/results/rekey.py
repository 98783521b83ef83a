"""Run folders whose names no longer fit what they hold: found, and given the present names.

The name of a run's folder is ``run_key`` of its configuration. It changes if an option gets another
name, or if the rule changes by which the key is made. The folder is then not found, although
nothing is wrong with it. Its content says which run it is, so its present name can always be
determined.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config import catalogue
from vaebench.config.cells import GROUPS, run_key
from vaebench.files import parse_json, write_atomic
from vaebench.results import lock, run_files
from vaebench.results.lock import Busy
from vaebench.results.result_file import is_config
from vaebench.results.store import Store, seed_of
from vaebench.settings.renamed import with_present_names

KEY = re.compile(r".+-[0-9a-f]{10}")
"""Names of run folders. A folder of another name is somebody's copy, and is left alone."""


@dataclass(frozen=True)
class Outdated:
    """The run of one seed in ``folder`` under an earlier name.

    Either its own name or that of an option in it is not the present one.
    """

    folder: Path
    seed: int
    key: str
    """The present key."""


def outdated(store: Store) -> Iterator[Outdated]:
    """Yield every run of the store under an earlier name, by folder and seed.

    Runs that cannot be read are skipped.
    """
    options = known_options()
    for folder in _folders(store):
        for place in sorted(folder.glob("seed-*")):
            seed = seed_of(place)
            key = present_key(place, options)
            if seed is not None and key is not None:
                yield Outdated(place, seed, key)


def known_options() -> dict[str, list[str]]:
    """Return the present options, by group."""
    return {group: catalogue.options(group) for group in GROUPS}


def present_key(place: Path, known: dict[str, list[str]]) -> str | None:
    """Return the present key of the run in a folder if the folder is outdated, else None.

    It is outdated if its name is not the key, or if an option in it has an earlier name.

    Args:
        place: The folder.
        known: Present options; see ``known_options``.
    """
    config = _config(place) if KEY.fullmatch(place.parent.name) else None
    if config is None:
        return None

    # The key cannot be computed if settings have wrong forms. Then the folder is left alone.
    present = with_present_names(config, known)
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        key = run_key(present)
        if key != place.parent.name or present != config:
            return key
    return None


def rekey(store: Store, found: Outdated) -> str:
    """Give a run its present name. Returns '' if this was done, else why it was not.

    The files of the run are rewritten first, each in one piece. Then the folder is moved in one
    piece. After a kill at any point the run is still found, by ``outdated`` or by its key, and the
    same call completes the work.
    """
    # The place is the same if only an option inside has an earlier name.
    new_place = store.run_dir(found.key, found.seed)
    try:
        with store.lock(found.folder.parent.name, found.seed):
            if new_place != found.folder and not _free(store, found):
                return f"{new_place} is there already"
            _rewrite(found)
            if new_place != found.folder:
                os.rename(found.folder, new_place)

                # The lock has moved along with the folder, where its release will not find it.
                (new_place / lock.NAME).unlink()
    except Busy:
        return "another process works on it"
    except OSError as e:
        return f"{e.strerror or e}: {e.filename or new_place}"

    if not any(found.folder.parent.iterdir()):  # no other seeds are left in it
        found.folder.parent.rmdir()
    return ""


def _rewrite(found: Outdated) -> None:
    """Put the present names into the two files of a run that hold its configuration."""
    options = known_options()
    for name in (run_files.NOTE, run_files.RESULT):
        path = found.folder / name
        content = _read(path)
        if content is None or not is_config(content.get("config")):
            continue

        renamed = {**content, "config": with_present_names(content["config"], options)}
        if "key" in content:
            renamed["key"] = found.key
        if renamed != content:
            write_atomic(path, json.dumps(renamed, indent=1) + "\n")
            os.utime(found.folder.parent)  # tells results.index that a note in it is new


def _free(store: Store, found: Outdated) -> bool:
    """Whether the present place of a run is free; an empty folder there is removed.

    Raises Busy if another process holds it.
    """
    # Held for a moment, to learn that no other process works on a run of the present name.
    new_place = store.run_dir(found.key, found.seed)
    with store.lock(found.key, found.seed):  # makes the folder
        if {p.name for p in new_place.iterdir()} - {lock.NAME}:
            return False
    new_place.rmdir()
    return True


def _folders(store: Store) -> list[Path]:
    if not store.root.is_dir():
        return []
    return sorted(p for p in store.root.iterdir() if KEY.fullmatch(p.name) and p.is_dir())


def _config(place: Path) -> dict[str, Any] | None:
    """Return the configuration of a run.

    It is read from the file that says what the run was made for, else from its result.
    """
    for name in (run_files.NOTE, run_files.RESULT):
        config = (_read(place / name) or {}).get("config")
        if is_config(config):
            return config
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
