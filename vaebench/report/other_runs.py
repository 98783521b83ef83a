"""Runs of a table that were made with other settings than those asked for, and the command that reports them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vaebench.errors import UserError
from vaebench.results.store import Store, read_note

MOST = 3
"""Settings that are named; of more only the number."""


@dataclass(frozen=True)
class Others:
    """``count`` runs of one preset with the same changes, as the user wrote them."""

    preset: str
    changed: tuple[str, ...]
    count: int


def of_table(store: Store, table: str, known: set[str]) -> list[Others]:
    """The runs of a table whose keys are not in ``known``, by preset and changes. Imports neither pandas nor Hydra."""
    counts: dict[tuple[str, tuple[str, ...]], int] = {}
    for path in sorted(store.root.glob("*/seed-*/config.json")):
        folder = path.parent
        if folder.parent.name in known:
            continue
        try:
            note, _ = read_note(folder)
        except UserError:
            continue
        if note.get("table") != table or not isinstance(note.get("preset"), str):
            continue
        setting = note["preset"], tuple(str(text) for text in note.get("changed") or [])
        counts[setting] = counts.get(setting, 0) + 1
    return [Others(preset, changed, count) for (preset, changed), count in counts.items()]


def lines(table: str, others: list[Others], where: Sequence[str] = ()) -> Iterator[str]:
    """``1 run with other settings: optim.rate=1e-2; vaebench report table=T preset=P optim.rate=1e-2 shows it``.

    ``where``: what else the command needs, ``run.results=DIR``.
    """
    for other in others[:MOST]:
        runs, them = ("run", "it") if other.count == 1 else ("runs", "them")
        words = [f"table={table}", f"preset={other.preset}", *other.changed, *where]
        command = shlex.join(["vaebench", "report", *words])
        what = " ".join(other.changed) or f"preset={other.preset}"
        yield f"{other.count} {runs} with other settings: {what}; {command} shows {them}"
    if len(others) > MOST:
        count = sum(other.count for other in others[MOST:])
        yield f"{count} runs with yet other settings: vaebench ls runs"
