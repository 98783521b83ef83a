"""The runs of a store, a line each, as a person reads them. Without torch, Hydra and pandas."""

from __future__ import annotations

from pathlib import Path

from vaebench.errors import UserError
from vaebench.results import flags
from vaebench.results.result_file import readable_measures
from vaebench.results.stats import Measure
from vaebench.results.store import Store, read_note
from vaebench.settings.kinds import is_number


def runs(store: Store) -> list[tuple[object, ...]]:
    """A header, and a line for each run: its name and seed, where it stands, for what it was made, its measures."""
    rows: list[tuple[object, ...]] = [("RUN", "SEED", "STATUS", "UPDATES", "OF", "MEASURES")]
    for result in store.runs():
        key = result["key"]
        seed = result["seed"]
        updates = result.get("updates")
        measures = ", ".join(f"{m.name} {_number(m)}" for m in readable_measures(result))
        marks = flags.in_short(flags.of_result(result))
        found = (f"flagged: {marks}; " if marks else "") + (measures or result.get("reason") or "-")
        count = "-" if updates is None else f"{updates:,}"
        rows.append((key, seed, result.get("status") or "?", count, _of(store.run_dir(key, seed)), found))
    return rows


def _of(folder: Path) -> str:
    """``nvil_mnist: SBN 200 / NVIL, preset=short, optim.rate=1e-2``: for what a run was made; ``-`` where unknown."""
    try:
        note, _ = read_note(folder)
    except UserError:
        return "-"
    table = f"{note['table']}: " if note.get("table") else ""  # earlier versions did not keep it
    settings = [f"preset={note['preset']}"] if note.get("preset") else []
    settings += [str(text) for text in note.get("changed") or []]
    return ", ".join([f"{table}{note['row']} / {note['column']}", *settings])


def _number(measure: Measure) -> str:
    if not is_number(measure.value):
        return "?"
    return f"{measure.value:.2f}" + (f"({measure.error:.2f})" if is_number(measure.error) else "")
