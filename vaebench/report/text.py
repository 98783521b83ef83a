"""A page for the terminal: plain text, with colours if they are asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from vaebench.report import colours
from vaebench.report.page import Grid, Page

WIDTH = 100
"""Width to which notes are wrapped; less on a narrower terminal."""

WORDS = 40
"""Width to which the words of a cell are wrapped on a narrow terminal."""


def write(page: Page, width: int | None = None, colour: bool = False) -> str:
    """Write title, grid, sections and notes.

    Args:
        page: The page.
        width: Characters of the terminal; None for lines of any length.
        colour: Whether the terminal shows colours.
    """
    title = filled(page.title, width)
    if colour:
        title = "\n".join(colours.paint(line, colours.BOLD) for line in title.split("\n"))

    blocks = [title, grid(page.grid, width, colour)]
    for section in page.sections:
        blocks.append(f"{grid(section.grid, width, colour)}\n{filled(section.sentence, width)}")

    if page.footnotes:
        note_width = min(WIDTH, width or WIDTH)
        blocks.append(
            "\n".join(
                textwrap.fill(note, note_width, subsequent_indent="  ") for note in page.footnotes
            )
        )
    return "\n\n".join(blocks) + "\n"


def filled(text: str, width: int | None) -> str:
    """Return the text, wrapped if there is a width."""
    return textwrap.fill(text, width) if width else text


def grid(whole: Grid, width: int | None = None, colour: bool = False) -> str:
    """Write aligned columns under a ruled header.

    A grid wider than ``width`` becomes several, one below the other, each with the leading columns.
    Nothing is cut off. A line that is empty in a part is left out of it, except in the first part.
    """

    def finished(text: str, columns: Sequence[int]) -> str:
        """Return a ruled grid of these columns, coloured if that is asked for."""
        return (
            colours.grid(text, [whole.headers[i] for i in columns])
            if colour and whole.lines
            else text
        )

    all_columns = range(len(whole.headers))
    text = _ruled(whole, all_columns, whole.lines)
    if width is None or _width(text) <= width:
        return finished(text, all_columns)

    # It is too wide: first wrap long cells, then break the grid into groups of columns.
    lines = [
        tuple(textwrap.fill(cell, WORDS) if len(cell) > WORDS else cell for cell in line)
        for line in whole.lines
    ]

    # Fill each group with columns up to the width; at least one beside the leading ones, even if
    # that is too wide. A column number is a place in ``whole.headers``.
    leading = list(range(whole.leading))
    column_groups = [leading]
    for column in range(whole.leading, len(whole.headers)):
        one_more = [*column_groups[-1], column]
        if len(one_more) > len(leading) + 1 and _width(_ruled(whole, one_more, lines)) > width:
            column_groups.append([*leading, column])
        else:
            column_groups[-1] = one_more

    first_group, *other_groups = column_groups
    texts = [finished(_ruled(whole, first_group, lines), first_group)]
    for group in other_groups:
        # A line whose cells in this group are all empty says nothing in it.
        filled_lines = [line for line in lines if any(line[i] for i in group[len(leading) :])]
        texts.append(finished(_ruled(whole, group, filled_lines), group))
    return "\n\n".join(texts)


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _ruled(whole: Grid, columns: Sequence[int], lines: Sequence[Sequence[str]]) -> str:
    """Write some columns of some lines."""
    from tabulate import tabulate

    headers = [whole.headers[i] for i in columns]
    cells = [[line[i] for i in columns] for line in lines]
    sides = [whole.sides[i] for i in columns] if cells else None

    text = tabulate(cells, headers, tablefmt="simple", disable_numparse=True, colalign=sides)
    return "\n".join(line.rstrip() for line in text.splitlines())
