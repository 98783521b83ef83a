"""What a command says about runs that exist under an earlier name.

The same for runs of an earlier version of their options.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from vaebench.config.cells import Cell, run_key, versions
from vaebench.errors import UserError
from vaebench.results import index
from vaebench.results.store import Store


def noticed(store: Store, wanted: Sequence[tuple[Cell, list[int]]]) -> list[str]:
    """Return lines about runs of earlier versions, before cells are trained at some seeds.

    Raises UserError as ``refuse_outdated`` does.
    """
    refuse_outdated(store, wanted)
    earlier = of_earlier_version(store, [cell for cell, _ in wanted])
    return [earlier] if earlier else []


def refuse_outdated(store: Store, wanted: Iterable[tuple[Cell, list[int]]]) -> None:
    """Refuse to train again what exists under an earlier name.

    Raises UserError naming the command that renames it.
    """
    seeds: dict[str, set[int]] = {}
    for cell, seeds_of_cell in wanted:
        seeds.setdefault(cell.key, set()).update(seeds_of_cell)
    notice = found_outdated(store, seeds)
    if notice:
        raise UserError(f"{notice} (or start anew with --force)")


def found_outdated(store: Store, wanted: Mapping[str, Container[int] | None]) -> str:
    """Return a line about the runs that exist under an earlier name; '' if there are none.

    ``wanted`` maps present keys to seeds, or to None for any seed.
    """
    if not wanted:
        return ""

    with index.opened(store) as runs_of_store:
        outdated = runs_of_store.outdated()

    folders = [
        store.run_dir(name, seed)
        for name, seed, key in outdated
        if key in wanted and _among(seed, wanted[key])
    ]
    if not folders:
        return ""
    subject = (
        f"{folders[0]} holds a run"
        if len(folders) == 1
        else f"{store.root} holds {len(folders)} runs"
    )
    return (
        f"{subject} of these under an earlier name; rename with: vaebench rekey "
        f"run.results={store.root}"
    )


def of_earlier_version(store: Store, cells: Iterable[Cell]) -> str:
    """Return a line about cells that only have runs of an earlier version of their options.

    '' if there are none.
    """
    # A cell counts if it has a run of an earlier version and none of the present one, which is the
    # last of its versions.
    count = 0
    for key, config in {cell.key: cell.config for cell in cells}.items():
        earlier_keys = [run_key(old) for old in versions(config)[:-1]]
        present = (store.root / key).is_dir()
        count += not present and any((store.root / old).is_dir() for old in earlier_keys)

    if not count:
        return ""
    have = "a cell has" if count == 1 else f"{count} cells have"
    return (
        f"{have} runs of an earlier version of their options in {store.root}; they are kept, "
        "and not taken for these"
    )


def _among(seed: int, wanted: Container[int] | None) -> bool:
    return wanted is None or seed in wanted
