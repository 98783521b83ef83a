"""What a published table or figure is, with its rows, columns and presets.

Plain typed data, read by ``schema``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from vaebench.errors import TYPO, UserError, likely, nearest

PLOTS = ("bound", "cases", "imputation", "information", "means", "path", "units")
"""What the runs of a table can be drawn as; see vaebench.report.plots."""

TRAINING = (
    *("kind", "recipe", "measure", "margin", "margin_why"),
    *("base", "seeds", "columns", "rows", "presets", "published_csv"),
)
"""Keys of a table that a figure of formulas does not have."""


@dataclass(frozen=True)
class Ledger:
    """One place where the paper is silent, ambiguous or differs from its own code.

    And what is done here.
    """

    topic: str
    paper: str
    here: str
    why: str


@dataclass(frozen=True)
class Finding:
    """What this project's own runs showed about a table.

    With its budget and seeds, and the files that show it.
    """

    topic: str
    found: str
    evidence: str
    reading: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        set: Overrides that it makes in every row.
        note: What must be said of it.
        published: What the paper's CSV in results/published/ calls it; empty: as here.
        measure: What the paper printed in it, one of
            ``vaebench.protocol.registry.METRICS``; empty: the table's.
        indicative: Why what is printed in it compares with none of ours, although it stands beside:
            no difference, no verdict. Empty: it compares.
    """

    set: tuple[str, ...] = ()
    note: str = ""
    published: str = ""
    measure: str = ""
    indicative: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of another table, which trains it."""

    table: str
    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}: {self.row} / {self.column}"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        set: Overrides that it makes in every column.
        columns: The trained columns of this row. None: all of them; empty: nothing is trained (a
            literature row).
        entries: Column -> what is overridden in that one entry.
        published: Column, or the name of a literature column -> the number as printed
            (nats, positive NLL or bound), None where the paper prints a curve and no number.
        spread: Column -> the standard deviation over the paper's runs, where one is printed.
        source: Where a number of the literature is from.
        note: What must be said of it.
        diverges: The paper's own run of it did, so ours may.
        trained_by: Column -> an entry of another table, whose settings, and so runs, it has.
    """

    set: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    published: dict[str, float | None] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    source: str = ""
    note: str = ""
    diverges: bool = False
    trained_by: dict[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class TablePreset:
    """What a preset changes in this table only. Later wins: set, then columns, then rows.

    Attributes:
        set: Overrides in all cells.
        columns: Column -> overrides.
        rows: Row -> {column, or "*" for all: overrides}.
        seeds: Seeds to run; None: the preset's own.
        note: What must be said of it.
        about: In place of the preset's own words, where those are not true of this table.
        label: In place of the preset's own label.
    """

    set: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    note: str = ""
    about: str = ""
    label: str = ""


@dataclass(frozen=True)
class Preset:
    """How much is run: conf/preset/<name>.yaml.

    Attributes:
        name: Of the file.
        label: What stands behind every verdict; empty for the paper's recipe.
        about: What it does, in words.
        set: Overrides in all cells of every table.
        seeds: Seeds to run; None: the table's own.
    """

    name: str
    label: str
    about: str
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None


def short_paper(paper: str) -> str:
    """``Vahdat et al. 2018, DVAE++``: of more than two authors the first.

    Of the title the name before its colon.
    """
    found = re.fullmatch(r"(.*?) (\d{4})(?:, (.*))?", paper)
    if found is None:
        return paper
    authors, year, title = found.groups()
    names = [name.strip() for name in re.split(r",|&", authors)]
    if len(names) > 2:
        authors = f"{names[0]} et al."
    name, colon, _ = (title or "").partition(":")
    return ", ".join(part for part in (f"{authors} {year}", name if colon else "") if part)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """What a published table and a figure of formulas have in common.

    See conf/table/, one file each. ``paper`` is the paper, ``where`` the place in
    it, such as ``Table 1``.
    """

    name: str
    title: str
    paper: str
    where: str
    kind: str
    ledger: tuple[Ledger, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The title with its source."""
        return f"{self.title} ({self.where}, {self.paper})"

    @property
    def extent(self) -> str:
        """What ``vaebench ls`` says of its size."""
        return "drawn"


@dataclass(frozen=True, kw_only=True)
class Figure(Exhibit):
    """A figure of formulas alone: nothing is trained.

    ``drawn`` names the formulas, see ``vaebench.report.drawn``.
    """

    drawn: str
    kind: str = "figure"


@dataclass(frozen=True, kw_only=True)
class Table(Exhibit):
    """One published table, or a figure of trained runs; ``docs/tables.md`` says how to add one.

    ``figure``: which of ``PLOTS`` its runs are drawn as unless told otherwise. ``published_runs``:
    how many runs of the paper's are behind a printed standard deviation (``Row.spread``), None
    where it does not say.
    """

    recipe: int
    measure: str
    margin: float
    margin_why: str
    seeds: tuple[int, ...]
    base: tuple[str, ...]
    columns: dict[str, Column]
    rows: dict[str, Row]
    kind: str = "table"
    presets: dict[str, TablePreset] = field(default_factory=dict)
    published_csv: str = ""
    figure: str = "bound"
    published_runs: int | None = None

    @property
    def extent(self) -> str:
        """The number of its cells."""
        return str(len(self.trained()))

    def trained(self) -> list[tuple[str, str]]:
        """(row, column) of every cell that is trained here, in the order of the table."""
        return [
            (r, c)
            for r, row in self.rows.items()
            for c in self.columns
            if row.columns is None or c in row.columns
        ]

    def in_its_words(self, preset: Preset) -> Preset:
        """A preset as this table describes it."""
        here = self.presets.get(preset.name, TablePreset())
        return replace(preset, about=here.about or preset.about, label=here.label or preset.label)

    @property
    def links(self) -> dict[tuple[str, str], Entry]:
        """(row, column) of every entry that another table trains, and which one that is."""
        return {
            (name, c): there
            for name, row in self.rows.items()
            for c, there in row.trained_by.items()
        }

    @property
    def printed(self) -> bool:
        """Whether the paper prints what a run can be held against.

        A number, or that its own run diverged.
        """
        return any(
            row.diverges or any(v is not None for v in row.published.values())
            for row in self.rows.values()
        )

    def narrowed(self, entries: Iterable[tuple[str, str]]) -> Table:
        """The same table with these trained entries, (row, column), alone.

        Without the others and the literature.
        """
        chosen: dict[str, list[str]] = {}
        for row, column in entries:
            chosen.setdefault(row, []).append(column)
        rows = {
            name: replace(
                self.rows[name],
                columns=tuple(columns),
                published={c: v for c, v in self.rows[name].published.items() if c in columns},
                spread={c: v for c, v in self.rows[name].spread.items() if c in columns},
            )
            for name, columns in chosen.items()
        }
        return replace(self, rows=rows)

    def measure_of(self, column: str) -> str:
        """What the paper printed in a column, by name.

        The column's own measure, else the table's.
        """
        return (column in self.columns and self.columns[column].measure) or self.measure


def entry_named(text: str, rows: Collection[str]) -> tuple[str, str]:
    """What one ``--only`` names: 'row' or 'column', and the name. ``rows``: the names of rows."""
    kind, equals, name = (part.strip() for part in text.partition("="))
    # A row may have a "=" in its name: the whole text is tried first.
    if text in rows or not equals:
        return "row", text.strip()
    if kind in ("row", "column"):
        return kind, name
    if likely(kind, ["row", "column"], TYPO):
        raise UserError(f"--only {text!r}: {nearest(kind, ['row', 'column'])}")
    return "row", text.strip()
