"""Published tables from Python: their list, one table at a preset, the shipped results."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vaebench.api import words
from vaebench.config import catalogue, compose, selection
from vaebench.config.tables import Figure, Table
from vaebench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from vaebench.config.cells import Cell
    from vaebench.config.tables import Preset
    from vaebench.report.drawn import Drawn
    from vaebench.results.store import Store

log = logging.getLogger(__name__)

Names = str | Iterable[str] | None
"""Names of some rows or columns; None for all."""

Seeds = int | Iterable[int] | None
"""One or several seeds; None for the usual ones."""

ONE_PROCESS = "run.jobs=1"
"""The default here: each further process would import the user's script again."""


def tables() -> dict[str, str]:
    """Return the name of every table with its title.

    >>> "nvil_mnist" in tables()
    True
    """
    return {name: catalogue.load(name).title for name in catalogue.options("table")}


def table(name: str, *overrides: str, preset: str = "paper") -> Reproduction | Drawing:
    """Return one table at a preset, or a figure of formulas.

    Args:
        name: A name that ``tables()`` has.
        overrides: Settings as the command takes them, such as "optim.rate=1e-3", "data=digits" or
            "run.results=DIR".
        preset: How much is run, such as "quick", "short" or "paper".

    Raises:
        UserError: If a name, a key or a value is refused.
    """
    # Overrides are the words of a command line, so they could name another table or preset.
    choice = selection.parse([f"table={name}", f"preset={preset}", *overrides])
    if choice.tables != (name,) or choice.preset != preset:
        raise UserError(f"table {name!r}: one table at one preset; make others by further calls")

    exhibit = catalogue.load(name)
    if isinstance(exhibit, Table):
        return Reproduction(exhibit, catalogue.load_preset(preset), choice.overrides)
    if choice.overrides:
        raise UserError(
            f"{name}: drawn from formulas, without settings; leave out {choice.overrides[0]}"
        )
    return Drawing(exhibit)


def reference(name: str, preset: str | None = None) -> pd.DataFrame:
    """Return the results of a table that vaebench ships, a line for each run and metric.

    Args:
        name: A name that ``tables()`` has.
        preset: One preset; None for all presets with results.

    Returns:
        The columns of ``vaebench report --format csv``; for a figure drawn from formulas, the
        points of its curves.

    Raises:
        UserError: If there is no such table, or nothing is shipped for it.
    """
    import pandas as pd

    from vaebench.report import recorded
    from vaebench.results import shipped

    table = catalogue.load(name)
    if isinstance(table, Figure):
        place = shipped.folder()
        if place is None or not (place / f"{name}.csv").is_file():
            raise UserError(f"{shipped.WORD}: no points of the figure {name}")
        return pd.read_csv(place / f"{name}.csv")

    frame = recorded.read(shipped.files([name], None if preset is None else [preset]))
    return recorded.under_own_names(frame, table).reset_index(drop=True)


class Reproduction:
    """A table at a preset, perhaps with changed settings: its cells, its runs, its results.

    Attributes:
        table: Content of the table's file: rows, columns, published numbers, ledger.
        preset: How much is run.
        overrides: The settings that were changed.
    """

    def __init__(self, table: Table, preset: Preset, overrides: tuple[str, ...]) -> None:
        self.table = table
        self.preset = preset
        self.overrides = overrides
        self.cells()  # what would be refused is refused now, before anything is run

    def __repr__(self) -> str:
        return f"<table {self.table.name}, preset {self.preset.name}>"

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def rows(self) -> list[str]:
        """Names of the rows in which something is trained."""
        return list(dict.fromkeys(row for row, _ in self.table.trained()))

    @property
    def columns(self) -> list[str]:
        """Names of the columns in which something is trained."""
        return list(dict.fromkeys(column for _, column in self.table.trained()))

    def cells(self, rows: Names = None, columns: Names = None) -> list[Cell]:
        """Return the cells of some rows and columns, each with its whole configuration.

        Raises UserError if a name is unknown.
        """
        return compose.cells(
            self.table, self.preset, (ONE_PROCESS, *self.overrides), words.only(rows, columns)
        )

    def run(
        self,
        rows: Names = None,
        columns: Names = None,
        seeds: Seeds = None,
        *,
        force: bool = False,
        evaluate: bool = True,
        minutes: float | None = None,
    ) -> pd.DataFrame:
        """Train and evaluate what is not done yet, as ``vaebench run`` does.

        Progress is written to the standard error.

        Args:
            rows: Names of rows; None for all.
            columns: Names of columns; None for all.
            seeds: Seeds; None for those of the preset or the table.
            force: Delete the existing runs and start anew.
            evaluate: False trains only, as ``--no-eval`` does; the same call without it evaluates.
            minutes: Save the state and stop after so long, as ``--minutes`` does; the same call
                continues. None: no limit.

        Returns:
            The results of these cells at these seeds. A run that failed has a line with its status
            and the reason. What is left for later is a warning in the log.

        Raises:
            UserError: If settings, data or the time are refused. Nothing is trained then.
            KeyboardInterrupt: After Ctrl-C. The state is saved; the same call continues from there.
        """
        from vaebench.results.earlier_runs import noticed
        from vaebench.running.execute import execute, plan, unexpected
        from vaebench.running.later import end_of, told
        from vaebench.running.machine import threads_kept

        words.flag("force", force)
        words.flag("evaluate", evaluate)

        chosen_cells = self.cells(rows, columns)
        wanted_seeds = self._seeds(seeds)
        store = self._store(chosen_cells)

        # All checks come first: nothing is trained if anything is refused.
        deadline = end_of(minutes)
        planned = plan(
            store, [(chosen_cells, wanted_seeds)], force, evaluate=evaluate, until=deadline
        )

        if not force:
            for line in noticed(store, planned.todo):
                log.warning("%s", line)

        with threads_kept():
            launched = execute(planned, force, until=deadline)

        for outcome in unexpected(launched.outcomes, {self.name: self.table}):
            log.warning(
                "%s seed %d %s: %s", outcome.task.cell, outcome.seed, outcome.status, outcome.reason
            )
        if launched.stopped:
            raise KeyboardInterrupt(launched.line.replace("the same command", "the same call"))

        # What was left for later, and why.
        for line in told(
            planned, launched, minutes, "the same call", "the same call with evaluate=True"
        ):
            log.warning("%s", line)

        return store.frame(chosen_cells, wanted_seeds)

    def runs(self, rows: Names = None, columns: Names = None, seeds: Seeds = None) -> list[Path]:
        """Return the folders of the existing runs, for ``load_run``, in the order of the cells."""
        chosen_cells = self.cells(rows, columns)
        store = self._store(chosen_cells)
        wanted_seeds = store.seeds(chosen_cells) if seeds is None else self._seeds(seeds)

        # Columns may share a run, so each folder is returned once.
        folders = (store.run_dir(cell.key, seed) for cell in chosen_cells for seed in wanted_seeds)
        return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def results(
        self, rows: Names = None, columns: Names = None, seeds: Seeds = None
    ) -> pd.DataFrame:
        """Return the results so far, a line for each run and metric.

        Args:
            rows: Names of rows; None for all.
            columns: Names of columns; None for all.
            seeds: Seeds; None for all that have runs.
        """
        chosen_cells = self.cells(rows, columns)
        store = self._store(chosen_cells)
        return store.frame(
            chosen_cells, store.seeds(chosen_cells) if seeds is None else self._seeds(seeds)
        )

    def report(
        self,
        format: str = "text",
        rows: Names = None,
        columns: Names = None,
        seeds: Seeds = None,
        *,
        results: pd.DataFrame | None = None,
    ) -> str:
        """Return the table with the measured beside the published numbers.

        Args:
            format: text, md, latex, html or csv.
            rows: Names of rows; None for all.
            columns: Names of columns; None for all.
            seeds: Seeds; None for all that have runs.
            results: Results of this table to show instead of those of the runs, such as
                ``reference()``.

        Raises:
            UserError: If the format or a name is unknown.
        """
        from vaebench import report

        chosen_entries = {(cell.row, cell.column) for cell in self.cells(rows, columns)}

        # A narrowed table has no literature, so the whole table is only narrowed if asked for.
        is_narrowed = rows is not None or columns is not None
        shown_table = (
            self.table.narrowed(sorted(chosen_entries, key=self.table.trained().index))
            if is_narrowed
            else self.table
        )
        frame = self.results(rows, columns, seeds) if results is None else results
        return report.render(shown_table, frame, format)

    def reference(self) -> pd.DataFrame:
        """Return the results of this table at this preset that vaebench ships.

        Raises UserError if there are none.
        """
        return reference(self.name, self.preset.name)

    def _seeds(self, chosen: Seeds) -> list[int]:
        return selection.seeds(self.table, self.preset, words.seeds(chosen))

    def _store(self, cells: list[Cell]) -> Store:
        from vaebench.results.store import Store

        return Store(cells[0].run.results)


class Drawing:
    """A figure of formulas: nothing is trained, so it has neither settings nor runs.

    Attributes:
        figure: Content of its file: title, paper, ledger.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def __repr__(self) -> str:
        return f"<figure {self.name}>"

    @property
    def name(self) -> str:
        """The figure's name."""
        return self.figure.name

    def results(self) -> pd.DataFrame:
        """Return the points of its curves."""
        return self._drawn().points()

    def report(self, format: str = "text") -> str:
        """Return the figure's short table; ``format`` is text, md, latex, html or csv.

        Raises UserError for any other format.
        """
        from vaebench import report

        return report.written([self._drawn()], format)

    def reference(self) -> pd.DataFrame:
        """Return the points that vaebench ships."""
        return reference(self.name)

    def run(self, *_: object, **__: object) -> NoReturn:
        """Raise UserError, because there is nothing to train."""
        raise UserError(
            f"{self.name}: drawn from formulas, nothing is trained; results() has its points"
        )

    cells = runs = run

    def _drawn(self) -> Drawn:
        from vaebench.report.drawn import Drawn

        return Drawn(self.figure)
