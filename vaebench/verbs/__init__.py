"""The verbs of the command, one module each: ``HELP``, ``configure(parser)`` and ``run(args) -> exit code``.

Nothing heavy is imported at the top of these modules, so that ``--help`` and ``ls`` are instant.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from vaebench import catalogue, config
from vaebench.errors import UserError


def add_overrides(parser: ArgumentParser, about: str, keys: Sequence[str] = ()) -> None:
    """The positional ``key=value`` arguments, as ``args.overrides``; completion offers only ``keys`` if given."""
    action = parser.add_argument("overrides", nargs="*", metavar="key=value", help=about)
    if keys:
        offer(action, [f"{key}=" for key in keys])


def offer(action: Action, words: Sequence[str]) -> None:
    """What completion offers for an argument, without restricting it."""
    action.completer = lambda prefix, **_: [w for w in words if w.startswith(prefix)]


def only_keys(overrides: Sequence[str], allowed: Sequence[str], verb: str) -> dict[str, str]:
    """The arguments of a verb that takes but a few keys. Raises UserError for any other key."""
    found = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in allowed:
            raise UserError(f"{verb} does not take {text!r}; allowed: {', '.join(f'{k}=...' for k in allowed)}")
        found[key] = value
    return found


def nothing_to_set(tables: Sequence[config.Table], overrides: Sequence[str], args: Namespace) -> dict[str, str]:
    """The settings of a verb for drawn figures alone, which have no rows, seeds or settings: ``run.results`` at most.

    Raises UserError for any other, and for ``--only`` and ``--seeds``. A preset changes nothing, so it may stand there.
    """
    names = ", ".join(t.name for t in tables)
    for option, given in (("--only", args.only), ("--seeds", args.seeds is not None)):
        if given:
            raise UserError(f"{names}: drawn from formulas, without rows, columns or seeds; leave out {option}")
    return only_keys(overrides, ["run.results"], f"{names}, drawn from formulas,")


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically and say so on stderr. UserError where it cannot be written."""
    from vaebench.files import write_atomic

    try:
        write_atomic(path, content)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}") from None
    wrote(path)


def wrote(path: Path) -> None:
    """Say on stderr where a file went."""
    print(f"vaebench: wrote {path}", file=sys.stderr)


def results_root(chosen: str | None = None) -> Path:
    """The folder of the run directories: the override ``run.results=DIR``, else the default of conf/cell.yaml."""
    import yaml

    if chosen:
        return Path(chosen).expanduser()
    return Path(yaml.safe_load((catalogue.conf_dir() / "cell.yaml").read_text(encoding="utf-8"))["run"]["results"])


def aligned(rows: Sequence[Sequence[object]], indent: str = "") -> str:
    """Lines of left-aligned columns, two spaces apart, without trailing blanks."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        (indent + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True))).rstrip() for row in texts
    )
