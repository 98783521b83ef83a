"""Published tables and figures, with their rows, columns and presets.

They are plain typed data, which ``schema`` reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from vaebench.errors import TYPO, UserError, likely, nearest

PLOTS = ("bound", "cases", "imputation", "information", "means", "path", "units")
"""Plots that the runs of a table can be drawn as; see vaebench.report.plots."""

TRAINING = (
    *("kind", "recipe", "measure", "margin", "margin_why"),
    *("base", "seeds", "columns", "rows", "presets", "published_csv"),
)
"""Keys of a table that a figure of formulas does not have."""


@dataclass(frozen=True)
class Ledger:
    """One place where the paper is silent, ambiguous or differs from its own code.

    It says what is done here, and why.
    """

    topic: str
    paper: str
    here: str
    why: str


@dataclass(frozen=True)
class Finding:
    """Something that this project's own runs showed about a table.

    It comes with its budget and seeds, and with the files that show it.
    """

    topic: str
    found: str
    evidence: str
    reading: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        set: Overrides for every row.
        note: A remark on it.
        published: Its name in the paper's CSV in results/published/; empty: the same as here.
        measure: What the paper printed in it, one of ``vaebench.protocol.registry.METRICS``;
            empty: the table's measure.
        indicative: Why its printed numbers, although shown beside ours, compare with none of them:
            then there is no difference and no verdict. Empty: they compare.
    """

    set: tuple[str, ...] = ()
    note: str = ""
    published: str = ""
    measure: str = ""
    indicative: str = ""


@dataclass(frozen=True)
class Entry:
    """An entry of another table, which trains an entry of this one."""

    table: str
    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}: {self.row} / {self.column}"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        set: Overrides for every column.
        columns: The trained columns of this row. None: all of them; empty: nothing is trained (a
            literature row).
        entries: Column -> overrides of that one entry.
        published: Column, or the name of a literature column -> the number as printed
            (nats, positive NLL or bound), None if the paper prints a curve and no number.
        spread: Column -> the standard deviation over the paper's runs, if one is printed.
        source: Where a number of the literature is from.
        note: A remark on it.
        diverges: Whether the paper's own run diverged, so that ours may.
        trained_by: Column -> the entry of another table whose settings, and so whose runs, it has.
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
    """What a preset changes in this table only. Later ones win: set, then columns, then rows.

    Attributes:
        set: Overrides in all cells.
        columns: Column -> overrides.
        rows: Row -> {column, or "*" for all: overrides}.
        seeds: Seeds to run; None: the preset's own.
        note: A remark on it.
        about: A description in place of the preset's own, if that is not true of this table.
        label: A label in place of the preset's own.
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
        name: Name of the file.
        label: Word behind every verdict; empty for the paper's recipe.
        about: A description of the preset.
        set: Overrides in all cells of every table.
        seeds: Seeds to run; None: the table's own.
    """

    name: str
    label: str
    about: str
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None


def short_paper(paper: str) -> str:
    """Return a short form of a paper, such as ``Vahdat et al. 2018, DVAE++``.

    Of more than two authors only the first is kept. Of a title with a colon only the name before
    the colon is kept; any other title is dropped.
    """
    # AUTHORS YEAR, TITLE; the title may be missing.
    match = re.fullmatch(r"(.*?) (\d{4})(?:, (.*))?", paper)
    if match is None:
        return paper
    authors, year, title = match.groups()

    names = [name.strip() for name in re.split(r",|&", authors)]
    if len(names) > 2:
        authors = f"{names[0]} et al."

    name, colon, _ = (title or "").partition(":")
    return ", ".join(part for part in (f"{authors} {year}", name if colon else "") if part)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """What a published table and a figure of formulas have in common.

    Each is one file of conf/table/. ``paper`` is the paper, ``where`` the place in it, such as
    ``Table 1``.
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
        """The table's size, as ``vaebench ls`` shows it."""
        return "drawn"


@dataclass(frozen=True, kw_only=True)
class Figure(Exhibit):
    """A figure of formulas alone: nothing is trained.

    ``drawn`` names the formulas; see ``vaebench.report.drawn``.
    """

    drawn: str
    kind: str = "figure"


@dataclass(frozen=True, kw_only=True)
class Table(Exhibit):
    """One published table, or a figure of trained runs; ``docs/tables.md`` says how to add one.

    ``figure`` is the one of ``PLOTS`` that its runs are drawn as by default. ``published_runs`` is
    the number of the paper's runs behind a printed standard deviation (``Row.spread``), None if the
    paper does not say.
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
        """Return (row, column) of every cell that is trained here, in the order of the table."""
        # columns: None means all, an empty tuple none (a row of the literature).
        return [
            (r, c)
            for r, row in self.rows.items()
            for c in self.columns
            if row.columns is None or c in row.columns
        ]

    def in_its_words(self, preset: Preset) -> Preset:
        """Return a preset as this table describes it."""
        changes = self.presets.get(preset.name, TablePreset())
        return replace(
            preset, about=changes.about or preset.about, label=changes.label or preset.label
        )

    @property
    def links(self) -> dict[tuple[str, str], Entry]:
        """(row, column) of every entry that another table trains -> its entry in that table."""
        return {
            (name, c): entry
            for name, row in self.rows.items()
            for c, entry in row.trained_by.items()
        }

    @property
    def printed(self) -> bool:
        """Whether the paper prints something that a run can be compared with.

        That is a number, or the remark that its own run diverged.
        """
        return any(
            row.diverges or any(v is not None for v in row.published.values())
            for row in self.rows.values()
        )

    def narrowed(self, entries: Iterable[tuple[str, str]]) -> Table:
        """Return the same table with only these trained entries, (row, column).

        The other entries and the literature are left out.
        """
        columns_of: dict[str, list[str]] = {}  # row -> its chosen columns
        for row, column in entries:
            columns_of.setdefault(row, []).append(column)

        rows = {
            name: replace(
                self.rows[name],
                columns=tuple(columns),
                published={c: v for c, v in self.rows[name].published.items() if c in columns},
                spread={c: v for c, v in self.rows[name].spread.items() if c in columns},
            )
            for name, columns in columns_of.items()
        }
        return replace(self, rows=rows)

    def measure_of(self, column: str) -> str:
        """Return the name of what the paper printed in a column.

        It is the column's own measure, else the table's.
        """
        return (column in self.columns and self.columns[column].measure) or self.measure


def entry_named(text: str, rows: Collection[str]) -> tuple[str, str]:
    """Return what one ``--only`` names, 'row' or 'column', and the name, given the rows' names."""
    kind, equals, name = (part.strip() for part in text.partition("="))
    # A row may have a "=" in its name, so the whole text is tried first.
    if text in rows or not equals:
        return "row", text.strip()
    if kind in ("row", "column"):
        return kind, name
    if name in rows or likely(kind, ["row", "column"], TYPO):
        raise UserError(f"--only {text!r}: {nearest(kind, ['row', 'column'])}")
    return "row", text.strip()
