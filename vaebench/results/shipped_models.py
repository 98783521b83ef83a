"""The trained models that vaebench ships.

They are runs with their checkpoints, found by table and row as well as by name. In a checkout they
are in results/models; a wheel has them inside the package. They are only read: a run that is to be
changed is copied to the user's own runs first.
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
    """Return the folder of the shipped models; None if this installation has none."""
    return carried("results/models")


def runs() -> list[Path]:
    """Return the folders of the shipped runs, ``.../KEY/seed-S``."""
    place = folder()
    return sorted(path.parent for path in place.glob("*/seed-*/config.json")) if place else []


def names_and_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the words that name runs from the settings among them, ``key=value``.

    Rows and columns may have a ``=`` in their names (``MNIST 100+100 K=1``). So a word is no
    setting if a shipped model has this name, or if a blank or a slash is before the ``=``.
    """
    # The notes of the shipped models are only read if a word may be either.
    shipped_names = (
        {name for path in runs() for name in _called(path)}
        if any("=" in word for word in words)
        else set()
    )

    # No key of a setting has a blank or a slash in it: these are names of rows, and paths.
    settings = [
        word
        for word in words
        if "=" in word and word not in shipped_names and not set(" /") & set(_key(word))
    ]
    return [word for word in words if word not in settings], settings


def _key(word: str) -> str:
    return word.partition("=")[0]


def _called(path: Path) -> tuple[str, str, str]:
    """Return table, row and column of a shipped run."""
    note, _ = read_note(path)
    return note["table"], note["row"], note["column"]


def chosen(root: Path, words: Sequence[str], tables: Sequence[str]) -> list[Path]:
    """Return the folders of the runs that a user names.

    Args:
        root: The folder of the user's own runs.
        words: Paths or names of runs, where the user's own go before shipped ones; or the name of a
            table, a row and perhaps a column, which mean a shipped model.
        tables: Names of all tables.

    Raises:
        UserError: If a word names nothing, or a row means no shipped model or several.
    """
    if words and words[0] in tables and not (root / words[0]).exists():
        return [of_entry(words)]

    check_table(root, words, tables)
    folders = [path for word in words for path in _named(root, word)]
    return list(dict.fromkeys(folders))


def one(root: Path, words: Sequence[str], tables: Sequence[str]) -> Path:
    """Return the folder of the only run that a user names; the arguments are those of ``chosen``.

    Raises UserError unless it is exactly one.
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
    """Refuse words if the first one names nothing but resembles the name of a table.

    The arguments are those of ``chosen``.

    Raises:
        UserError: If it resembles a table, and no run more than that. The line names the table.
    """
    first = words[0] if words else ""
    if first in tables or "/" in first:
        return
    if any((top / first).exists() for top in (Path(), root, folder() or root)):
        return

    # The word is refused only if a table is what it resembles most, more than any run.
    own_runs = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    hint = likely(first, tables, TYPO)
    if hint and hint == likely(first, [*tables, *own_runs], TYPO):
        raise UserError(f"{first!r} is neither a run nor a table: {hint.strip()}")


def _named(root: Path, word: str) -> list[Path]:
    models = folder()

    # The user's own runs go before shipped ones. A word that is neither goes to ``find`` as well,
    # which says what there is.
    of_user = Path(word).exists() or (root / word).exists()
    return find(
        models if models and not of_user and (models / word).exists() else root,
        word,
    )


def of_entry(words: Sequence[str]) -> Path:
    """Return the shipped model of a table, a row and perhaps a column.

    Raises UserError if there is none, or several.
    """
    names = {path: _called(path) for path in runs()}  # folder -> (table, row, column)
    matches = [path for path, name in names.items() if name[: len(words)] == tuple(words)]
    if len(matches) == 1:
        return matches[0]

    shipped_here = "; ".join(dict.fromkeys(map(quoted, names.values())))
    typed = " ".join(words)
    if not shipped_here:
        raise UserError(f"{typed}: this installation ships no models")
    if matches:
        candidates = "; ".join(quoted(names[path]) for path in matches)
        raise UserError(f"{typed}: several shipped models of that name: allowed: {candidates}")
    raise UserError(
        f"{typed}: no shipped model of that name: allowed: {shipped_here}; or a name that "
        "vaebench ls runs shows"
    )


def quoted(words: Iterable[str]) -> str:
    """Return words as they are typed, those with blanks in quotes."""
    return " ".join(f"'{word}'" if " " in word else word for word in words)


def own(path: Path, root: Path) -> Path:
    """Return the run in ``path`` as one of the user's own.

    A shipped run is copied below ``root``, unless it is there already.
    """
    place = folder()
    if place is None or not path.resolve().is_relative_to(place.resolve()):
        return path

    copy = root / path.parent.name / path.name
    if not (copy / run_files.NOTE).exists():
        # The note is copied last, because without it the folder is not a run. The sorting puts it
        # last: True, for the note, comes after False.
        for name in sorted(KEPT, key=run_files.NOTE.__eq__):
            if (path / name).exists():
                write_atomic(copy / name, (path / name).read_bytes())
    return copy
