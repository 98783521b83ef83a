"""The runs of a store, a line each, as a person reads them. Without torch, Hydra and pandas."""

from __future__ import annotations

from vaebench.results import index
from vaebench.results.store import Store


def runs(store: Store) -> list[tuple[object, ...]]:
    """A header, and a line for each run: its name and seed, where it stands, for what it was made, its measures."""
    with index.opened(store) as known:
        found = known.listing()
    rows: list[tuple[object, ...]] = [("RUN", "SEED", "STATUS", "UPDATES", "OF", "MEASURES")]
    for key, seed, status, updates, about, line in found:
        rows.append((key, seed, status, "-" if updates is None else f"{updates:,}", about, line))
    return rows
