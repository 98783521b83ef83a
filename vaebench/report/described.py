"""The content of a table's or figure's file as plain text, without results."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path

from vaebench.config import catalogue
from vaebench.config.tables import Column, Exhibit, Figure, Row, Table, TablePreset
from vaebench.formatting import aligned
from vaebench.protocol.registry import unit_of
from vaebench.results import shipped


def page(exhibit: Exhibit) -> str:
    """Return what ``vaebench show`` prints of a table or figure."""
    return "\n".join([f"{exhibit.name}: {exhibit.title}", *_made(exhibit), *_remarks(exhibit)])


@singledispatch
def _made(exhibit: Exhibit) -> Iterable[str]:
    """Yield how its numbers are made."""
    raise TypeError(exhibit)


@_made.register
def _(figure: Figure) -> Iterator[str]:
    yield f"{figure.where} of {figure.paper} ({figure.kind})"
    yield from ("", f"drawn    from formulas, {figure.drawn}: nothing is trained")


@_made.register
def _(table: Table) -> Iterator[str]:
    yield f"{table.where} of {table.paper} ({table.kind}, recipe {table.recipe})"
    yield from ("", f"measure  {table.measure}")
    yield f"margin   {table.margin:g} {unit_of(table.measure)}: {table.margin_why}"
    yield f"seeds    {', '.join(map(str, table.seeds))}"
    yield f"cells    {len(table.trained())} trained"
    yield f"base     {' '.join(table.base) or '-'}"
    if table.published_csv:
        place = shipped.folder("published") or Path("results", "published")
        yield f"numbers  {place / table.published_csv}, as published"

    yield from ("", "columns")
    yield aligned(
        [(c, _words(col.set), _column_remarks(col)) for c, col in table.columns.items()], "  "
    )

    yield from ("", "rows")
    yield aligned([("", "overrides", "trained", "published", ""), *_rows(table)], "  ")

    yield from ("", "presets")
    yield aligned(list(_presets(table)), "  ")


def _remarks(table: Exhibit) -> Iterator[str]:
    """Yield notes, ledger and findings."""
    for note in table.notes:
        yield from ("", *_wrapped(note, "note     "))
    if table.ledger:
        yield from ("", "ledger: where the paper is silent, ambiguous or differs from its own code")
    for i, entry in enumerate(table.ledger, start=1):
        yield f"  {i}. {entry.topic}"
        for name in ("paper", "here", "why"):
            yield from _wrapped(getattr(entry, name), f"     {name:<6} ")

    if table.findings:
        yield from ("", "findings: what this project's own runs show")
    for i, finding in enumerate(table.findings, start=1):
        yield f"  {i}. {finding.topic}"
        for name, text in (
            ("found", finding.found),
            ("in", finding.evidence),
            ("read", finding.reading),
        ):
            if text:
                yield from _wrapped(text, f"     {name:<6} ")


def _rows(table: Table) -> Iterator[tuple[str, ...]]:
    trained = table.trained()
    for name, row in table.rows.items():
        columns = [c for r, c in trained if r == name]
        yield (
            name,
            _words(row.set),
            ", ".join(columns) or "-",
            _published(row),
            "; ".join(filter(None, (row.source, row.note))),
        )
        for column, overrides in row.entries.items():
            yield f"  {column}", _words(overrides), "", "", ""
        for column, entry in row.trained_by.items():
            yield f"  {column}", f"trained by {entry}", "", "", ""


def _column_remarks(column: Column) -> str:
    measure = f"measure {column.measure}" if column.measure else ""
    indicative = f"printed numbers are indicative: {column.indicative}" if column.indicative else ""
    return "; ".join(filter(None, (measure, column.note, indicative)))


def _published(row: Row) -> str:
    sds = {c: f" ± {sd}" for c, sd in row.spread.items()}

    # None stands for a printed curve without numbers.
    printed = (
        f"{c} {'(curve)' if v is None else v}{sds.get(c, '')}" for c, v in row.published.items()
    )
    return ", ".join(printed) or "-"


def _presets(table: Table) -> Iterator[tuple[str, str]]:
    for name in catalogue.presets_of(table):
        preset = table.in_its_words(catalogue.load_preset(name))
        changes = table.presets.get(name)
        yield name, preset.about
        if preset.set:
            yield "", f"sets {' '.join(preset.set)}"
        for line in _special(changes) if changes else ():
            yield "", line

        # Seeds of this table win over those of the preset.
        seeds = (changes and changes.seeds) or preset.seeds
        if seeds:
            yield "", f"seeds {', '.join(map(str, seeds))}"


def _special(changes: TablePreset) -> Iterator[str]:
    """Yield what a preset changes in this table only."""
    if changes.note:
        yield changes.note
    if changes.set:
        yield f"here {' '.join(changes.set)}"
    for column, overrides in changes.columns.items():
        yield f"{column}: {' '.join(overrides)}"
    for row, entry in changes.rows.items():
        for column, overrides in entry.items():
            yield f"{row}{'' if column == '*' else f' / {column}'}: {' '.join(overrides)}"


def _words(overrides: Sequence[str]) -> str:
    return " ".join(overrides) or "-"


def _wrapped(text: str, head: str) -> list[str]:
    return textwrap.wrap(
        " ".join(str(text).split()), 110, initial_indent=head, subsequent_indent=" " * len(head)
    )
