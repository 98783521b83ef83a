"""The runs of a store and the shipped models, a line each, as a person reads them.

Neither torch nor Hydra nor pandas is loaded.
"""

from __future__ import annotations

from vaebench.results import curves, index, shipped_models
from vaebench.results.store import Store, read_note


def runs(store: Store) -> list[tuple[object, ...]]:
    """Return a header, and a line for each run.

    A line has name, seed, status, updates (those of a run in training are at its last validation),
    what the run was made for, and its measures.
    """
    with index.opened(store) as runs_of_store:
        lines = runs_of_store.listing()

    rows: list[tuple[object, ...]] = [("RUN", "SEED", "STATUS", "UPDATES", "OF", "MEASURES")]
    for key, seed, status, updates, about, line in lines:
        # A run in training has no result yet; its curve says how far it is.
        updates_made = _validated(store, key, seed) if updates is None else updates
        rows.append(
            (key, seed, status, "-" if updates_made is None else f"{updates_made:,}", about, line)
        )
    return rows


def _validated(store: Store, key: str, seed: int) -> int | None:
    """Return the updates of a run that has no result yet at its last validation, if any."""
    updates = curves.validated(store.run_dir(key, seed))
    return updates[-1] if updates else None


def shipped() -> list[tuple[object, ...]]:
    """Return a header, and a line for each shipped model.

    A line has table and row as they are typed, preset, seed, updates and measures.
    """
    place = shipped_models.folder()
    # (key, seed) -> its line
    line_of_run = {(line[0], line[1]): line for line in runs(Store(place))} if place else {}

    rows: list[tuple[object, ...]] = [("MODEL", "PRESET", "SEED", "UPDATES", "MEASURES")]
    for path in shipped_models.runs():
        note, seed = read_note(path)
        *_before, updates, _about, measures = line_of_run[path.parent.name, seed]
        name = shipped_models.quoted((note["table"], note["row"]))
        rows.append((name, note["preset"], seed, updates, measures))
    return rows
