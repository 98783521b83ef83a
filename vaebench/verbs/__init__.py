"""The verbs of the command, one module each.

A module has ``HELP``, ``configure(parser)`` and ``run(args) -> exit code``. Nothing heavy is
imported at its top, so that ``--help`` and ``ls`` answer at once.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.tables import Exhibit
from vaebench.errors import UserError, likely
from vaebench.files import write_output
from vaebench.formatting import shortened
from vaebench.settings.kinds import SettingKind
from vaebench.verbs import streams

if TYPE_CHECKING:
    from vaebench.report import Look


def add_overrides(parser: ArgumentParser, about: str, keys: Sequence[str] = ()) -> None:
    """Add the positional ``key=value`` arguments, as ``args.overrides``.

    Completion offers only ``keys`` if they are given.
    """
    action = parser.add_argument("overrides", nargs="*", metavar="key=value", help=about)
    if keys:
        offer(action, [f"{key}=" for key in keys])


def add_option(parser: ArgumentParser, option: str, kind: SettingKind, **about: Any) -> None:
    """Add an option whose value is of a kind, as a setting's is.

    Args:
        parser: Parser of the verb.
        option: The option as it is written, ``--number``.
        kind: What is allowed. Another value raises UserError: ``--number 0: allowed: a whole number
            from 1 to 100``.
        about: Further arguments of ``add_argument``: ``default``, ``metavar``, ``help``.
    """

    def read(text: str) -> Any:
        return kind.check(option, _value(text), f"{option} {shortened(text) or repr(text)}")

    parser.add_argument(option, type=read, **about)


def _value(text: str) -> int | float | str:
    """Return what the user wrote, as a number if it is one; whole numbers stay exact."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def offer(action: Action, words: Sequence[str]) -> None:
    """Set the words that completion offers for an argument; other words stay allowed."""
    completes(action, lambda prefix, **_: [w for w in words if w.startswith(prefix)])


def completes(action: Action, offered: Callable[..., list[str]]) -> None:
    """Let ``offered(prefix, **more)`` decide what completion offers for an argument.

    argcomplete calls it.
    """
    action.completer = offered  # type: ignore[attr-defined]


def only_keys(overrides: Sequence[str], allowed: Sequence[str], verb: str) -> dict[str, str]:
    """Return the arguments of a verb that takes few keys. Raises UserError for any other key."""
    value_of = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in allowed:
            hint = likely(key, allowed)
            raise UserError(
                f"{verb} does not take {text!r}; {hint}allowed: "
                f"{', '.join(f'{k}=...' for k in allowed)}"
            )
        value_of[key] = value
    return value_of


def looks(brief: bool = False) -> Look:
    """Return how a report looks on the standard output.

    A terminal gets its width and colours; a file or a pipe gets the plain form.
    """
    from vaebench.report import Look

    return Look(brief, streams.width(), streams.colour(), streams.blocks())


def nothing_to_set(
    tables: Sequence[Exhibit], overrides: Sequence[str], args: Namespace
) -> dict[str, str]:
    """Return the settings of a verb that is only given drawn figures.

    Such figures have no rows, seeds or settings, so only ``run.results`` is allowed. Any other
    setting, ``--only`` and ``--seeds`` raise UserError. A preset is allowed, as it changes nothing.
    """
    names = ", ".join(t.name for t in tables)
    for option, is_given in (("--only", args.only), ("--seeds", args.seeds is not None)):
        if is_given:
            raise UserError(
                f"{names}: drawn from formulas, without rows, columns or seeds; leave out {option}"
            )
    return only_keys(overrides, ["run.results"], f"{names}, drawn from formulas,")


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically and say so on stderr. Raises UserError if it cannot be written."""
    write_output(path, content)
    tell([f"wrote {path}"])


def put(text: str, output: Path | None) -> None:
    """Write a text to standard output, or to a file."""
    if output is None:
        sys.stdout.write(text)
    else:
        write(output, text)


def tell(lines: Iterable[str]) -> None:
    """Print messages on stderr, a line each."""
    for line in lines:
        print(f"vaebench: {line}", file=sys.stderr)
