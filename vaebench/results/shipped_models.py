"""The trained models that vaebench ships.

Runs with their checkpoints, found by table and row as well as by name. In a checkout they stand in
results/models; a wheel carries them inside this room. They are only read: what is to be changed is
copied to the user's own runs first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vaebench.errors import TYPO, UserError, likely
from vaebench.files import carried, write_atomic
from vaebench.results import run_files
from vaebench.results.store import find, read_note

KEPT = (run_files.NOTE, run_files.RESULT, run_files.CURVE, run_files.BEST, run_files.CHECKPOINT)
"""Files of a shipped run."""


def folder() -> Path | None:
    """Where they are; None if this installation has none."""
    return carried("results/models")


def runs() -> list[Path]:
    """Their folders, ``.../KEY/seed-S``."""
    place = folder()
    return sorted(path.parent for path in place.glob("*/seed-*/config.json")) if place else []


def names_and_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that name runs, and the settings among them, ``key=value``.

    Rows and columns may have a ``=`` in their names (``MNIST 100+100 K=1``): what a shipped model
    is called, and what has a blank or a slash before it, is no setting.
    """
    called = (
        {name for path in runs() for name in _called(path)}
        if any("=" in word for word in words)
        else set()
    )
    settings = [
        word
        for word in words
        if "=" in word and word not in called and not set(" /") & set(_key(word))
    ]
    return [word for word in words if word not in settings], settings


def _key(word: str) -> str:
    return word.partition("=")[0]


def _called(path: Path) -> tuple[str, str, str]:
    """Table, row and column of a shipped run."""
    note, _ = read_note(path)
    return note["table"], note["row"], note["column"]


def chosen(root: Path, words: Sequence[str], tables: Sequence[str]) -> list[Path]:
    """The folders of the runs that a user names.

    Args:
        root: The folder of the user's own runs.
        words: Paths or names of runs, the user's own before shipped ones; or the name of a table, a
            row and perhaps a column, which mean a shipped model.
        tables: Names of all tables.

    Raises:
        UserError: If a word names nothing, or a row means no shipped model or several.
    """
    if words and words[0] in tables and not (root / words[0]).exists():
        return [of_entry(words)]
    check_table(root, words, tables)
    found = [path for word in words for path in _named(root, word)]
    return list(dict.fromkeys(found))


def one(root: Path, words: Sequence[str], tables: Sequence[str]) -> Path:
    """The folder of the only run that a user names; arguments as of ``chosen``.

    UserError unless it is one.
    """
    check_table(root, words, tables)
    if len(words) != 1 and not (words and words[0] in tables):
        raise UserError(f"{len(words)} runs given; allowed: one")
    folders = chosen(root, words, tables)
    if len(folders) > 1:
        seeds = ", ".join(f.name for f in folders)
        raise UserError(
            f"{words[0]} has several seeds ({seeds}); name one, as {words[0]}/{folders[0].name}"
        )
    return folders[0]


def check_table(root: Path, words: Sequence[str], tables: Sequence[str]) -> None:
    """Refuse words of which the first names nothing and is nearly the name of a table.

    The words as ``chosen`` takes them.

    Raises:
        UserError: Naming that table.
    """
    first = words[0] if words else ""
    if first in tables or "/" in first:
        return
    if any((top / first).exists() for top in (Path(), root, folder() or root)):
        return
    runs_there = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    hint = likely(first, tables, TYPO)
    if hint and hint == likely(first, [*tables, *runs_there], TYPO):
        raise UserError(f"{first!r} is neither a run nor a table: {hint.strip()}")


def _named(root: Path, word: str) -> list[Path]:
    place = folder()
    own = Path(word).exists() or (root / word).exists()
    return find(place if place and not own and (place / word).exists() else root, word)


def of_entry(words: Sequence[str]) -> Path:
    """The shipped model of a table, a row and perhaps a column.

    UserError if there is none, or several.
    """
    names = {path: _called(path) for path in runs()}
    fits = [path for path, name in names.items() if name[: len(words)] == tuple(words)]
    if len(fits) == 1:
        return fits[0]

    there = "; ".join(dict.fromkeys(map(quoted, names.values())))
    asked = " ".join(words)
    if not there:
        raise UserError(f"{asked}: this installation ships no models")
    if fits:
        raise UserError(f"{asked}: several shipped models of that name: allowed: {there}")
    raise UserError(
        f"{asked}: no shipped model of that name: allowed: {there}; or a name that "
        "vaebench ls runs shows"
    )


def quoted(words: Iterable[str]) -> str:
    """Words as they are typed, those with blanks in quotes."""
    return " ".join(f"'{word}'" if " " in word else word for word in words)


def own(path: Path, root: Path) -> Path:
    """The run in ``path`` as one of the user's own.

    A shipped one is copied below ``root`` unless it is there.
    """
    place = folder()
    if place is None or not path.resolve().is_relative_to(place.resolve()):
        return path
    mine = root / path.parent.name / path.name
    if not (mine / run_files.NOTE).exists():
        # The note last: without it there is no run.
        for name in sorted(KEPT, key=run_files.NOTE.__eq__):
            if (path / name).exists():
                write_atomic(mine / name, (path / name).read_bytes())
    return mine
