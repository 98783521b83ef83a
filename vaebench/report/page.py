"""A page of a report in plain text.

It is made once; the writers of the formats only add marks and escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Grid:
    """Columns of text.

    Attributes:
        headers: One for each column.
        lines: The cells of each line.
        sides: ``left`` or ``right`` for each column.
        leading: Number of first columns that name a line. They are repeated if a grid is broken
            into parts.
        more: Headers of the columns that a narrow grid leaves out.
    """

    headers: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    sides: tuple[str, ...]
    leading: int = 0
    more: tuple[str, ...] = ()

    def narrow(self) -> Grid:
        """Return the grid without the columns ``more``."""
        kept = [i for i, header in enumerate(self.headers) if header not in self.more]
        return replace(
            self,
            headers=tuple(self.headers[i] for i in kept),
            lines=tuple(tuple(line[i] for i in kept) for line in self.lines),
            sides=tuple(self.sides[i] for i in kept),
            more=(),
        )


@dataclass(frozen=True)
class Section:
    """A smaller grid below the first one, and the sentence below it."""

    grid: Grid
    sentence: str


@dataclass(frozen=True)
class Page:
    """The whole report of one table or figure.

    Attributes:
        title: The first line.
        grid: The table.
        sections: Further grids, such as the order of the rows.
        marks: Notes that every report has: the meaning of the numbers ``[1]`` in the grid.
        notes: The other notes. A brief report has none.
    """

    title: str
    grid: Grid
    sections: tuple[Section, ...] = ()
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def footnotes(self) -> tuple[str, ...]:
        """All notes in their order."""
        return (*self.marks, *self.notes)


def said_once(pages: Iterable[Page]) -> list[Page]:
    """Return the pages of one report, with each note on the first page that has it only."""
    notes_so_far: set[str] = set()
    shortened = []
    for page in pages:
        new_notes = tuple(note for note in dict.fromkeys(page.notes) if note not in notes_so_far)
        notes_so_far.update(new_notes)
        shortened.append(replace(page, notes=new_notes))
    return shortened
