"""Results of the runs of a store, and lines about runs that do not fit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vaebench.config.cells import Cell
from vaebench.config.tables import Table
from vaebench.errors import UserError
from vaebench.report import plots, trails
from vaebench.report.shown import Measured
from vaebench.results import index
from vaebench.results.earlier_runs import found_outdated, of_earlier_version
from vaebench.results.store import Results, Store

MOST = 3
"""Most settings that are named one by one; of further ones only the number is."""


def measured(
    table: Table,
    cells: list[Cell],
    seeds: list[int] | None = None,
    figure: str | None = None,
    known: Results | None = None,
) -> Measured:
    """Return a table with the results of its cells.

    Args:
        table: The table, narrowed to the cells.
        cells: The cells asked for.
        seeds: The seeds asked for; None for all that have runs.
        figure: The plot; None for the table's.
        known: Results that have been read already.
    """
    store = _store(cells)
    wanted_seeds = store.seeds(cells) if seeds is None else seeds
    name = figure or table.figure

    # Plots and trails read further files of the runs, so only if they are asked for.
    return Measured(
        table,
        store.frame(cells, wanted_seeds, known),
        name,
        lambda: plots.plot(name).collect(store, cells, wanted_seeds),
        lambda: trails.stored(store, cells, wanted_seeds),
    )


def notices(
    measured: Sequence[Measured], cells: Sequence[list[Cell]], overrides: Sequence[str], files: bool
) -> list[str]:
    """Return lines on tables without runs, and on runs that are not shown.

    Args:
        measured: The tables with their results.
        cells: The cells of each table that were asked for.
        overrides: The settings that the user changed.
        files: Whether files were asked for that would only hold results.

    Raises:
        UserError: If there are no runs at all, so that such files would be empty.
    """
    if files and not any(len(table_results.frame) for table_results in measured):
        raise UserError(f"{_no_runs(cells[0], overrides)}; nothing was written")
    return [
        line
        for table_results, cells_of_table in zip(measured, cells, strict=True)
        for line in _notices(cells_of_table, overrides, len(table_results.frame) > 0)
    ]


def _notices(cells: list[Cell], overrides: Sequence[str], has_runs: bool) -> Iterator[str]:
    """Yield the lines of one table; ``has_runs`` says whether any of the cells has a run."""
    store = _store(cells)
    if not has_runs:
        yield _no_runs(cells, overrides)

    # Cells without a folder may have runs under a name of an earlier version.
    keys_without_runs = {c.key: None for c in cells if not store.run_dir(c.key, 0).parent.exists()}
    yield from filter(
        None, (found_outdated(store, keys_without_runs), of_earlier_version(store, cells))
    )

    # Runs of the table that this report leaves out. If it shows any, only those are worth a line
    # that were made by the same preset with other changes.
    hidden = others(store, cells[0].table, {cell.key for cell in cells})
    if has_runs:
        hidden = [
            other
            for other in hidden
            if other.preset == cells[0].preset and other.changed != cells[0].changed
        ]

    yield from lines(
        cells[0].table, hidden, [text for text in overrides if text.startswith("run.results=")]
    )


def _no_runs(cells: list[Cell], overrides: Sequence[str]) -> str:
    """Return the line that there are no runs of these cells, with the command that makes them."""
    arguments = [f"table={cells[0].table}", f"preset={cells[0].preset}", *overrides]
    choice = " ".join([arguments[1], *cells[0].changed])
    command = shlex.join(["vaebench", "run", *arguments])
    return (
        f"no runs of {cells[0].table} with {choice} in {_store(cells).root}; {command} makes them"
    )


def _store(cells: list[Cell]) -> Store:
    return Store(cells[0].run.results)


# ------------------------------------------------------------------------- runs with other settings


@dataclass(frozen=True)
class Others:
    """``count`` runs of one preset with the same changes.

    ``changed`` has the changes as the user wrote them, ``rows`` the rows that the runs are of.
    """

    preset: str
    changed: tuple[str, ...]
    count: int
    rows: tuple[str, ...] = ()


def others(store: Store, table: str, known: set[str]) -> list[Others]:
    """Return the runs of a table whose keys are not in ``known``, by preset and changes."""
    with index.opened(store) as runs:
        return [Others(*group) for group in runs.others(table, known)]


def lines(table: str, found: Sequence[Others], where: Sequence[str] = ()) -> Iterator[str]:
    """Yield lines such as ``1 run with other settings: optim.rate=1e-2``.

    Each goes on with a command: ``; vaebench report table=T preset=P optim.rate=1e-2 shows it``.
    ``where`` has what else the command needs, such as ``run.results=DIR``.
    """
    for other in found[:MOST]:
        runs, them = ("run", "it") if other.count == 1 else ("runs", "them")
        arguments = [f"table={table}", f"preset={other.preset}", *other.changed, *where]

        if other.changed and len(other.rows) <= MOST:  # other rows may not have these settings
            arguments += [word for row in other.rows for word in ("--only", f"row={row}")]

        command = shlex.join(["vaebench", "report", *arguments])
        settings = " ".join(other.changed) or f"preset={other.preset}"
        yield f"{other.count} {runs} with other settings: {settings}; {command} shows {them}"

    if len(found) > MOST:
        count = sum(other.count for other in found[MOST:])
        yield f"{count} runs with yet other settings: vaebench ls runs"
