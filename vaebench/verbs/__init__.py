"""The verbs of the command, one module each.

``HELP``, ``configure(parser)`` and ``run(args) -> exit code``. Nothing heavy is imported at the top
of these modules, so that ``--help`` and ``ls`` are instant.
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
    """The positional ``key=value`` arguments, as ``args.overrides``.

    Completion offers only ``keys`` if given.
    """
    action = parser.add_argument("overrides", nargs="*", metavar="key=value", help=about)
    if keys:
        offer(action, [f"{key}=" for key in keys])


def add_option(parser: ArgumentParser, option: str, kind: SettingKind, **about: Any) -> None:
    """Add an option whose value is of a kind, as a setting's is.

    Args:
        parser: Of the verb.
        option: As it is written, ``--number``.
        kind: What is allowed. Another value raises UserError: ``--number 0: allowed: a whole number
            from 1 to 100``.
        about: What ``add_argument`` takes besides: ``default``, ``metavar``, ``help``.
    """

    def read(text: str) -> Any:
        return kind.check(option, _value(text), f"{option} {shortened(text) or repr(text)}")

    parser.add_argument(option, type=read, **about)


def _value(text: str) -> int | float | str:
    """What a person wrote: a number if it is one, whole numbers exactly."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def offer(action: Action, words: Sequence[str]) -> None:
    """What completion offers for an argument, without restricting it."""
    completes(action, lambda prefix, **_: [w for w in words if w.startswith(prefix)])


def completes(action: Action, offered: Callable[..., list[str]]) -> None:
    """Let ``offered(prefix, **more)`` say what completion offers for an argument.

    As argcomplete asks for it.
    """
    action.completer = offered  # type: ignore[attr-defined]


def only_keys(overrides: Sequence[str], allowed: Sequence[str], verb: str) -> dict[str, str]:
    """The arguments of a verb that takes but a few keys. Raises UserError for any other key."""
    found = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in allowed:
            hint = likely(key, allowed)
            raise UserError(
                f"{verb} does not take {text!r}; {hint}allowed: "
                f"{', '.join(f'{k}=...' for k in allowed)}"
            )
        found[key] = value
    return found


def looks(brief: bool = False) -> Look:
    """How a report looks on the standard output.

    As it is in a file or a pipe, in colour on a terminal.
    """
    from vaebench.report import Look

    return Look(brief, streams.width(), streams.colour(), streams.blocks())


def nothing_to_set(
    tables: Sequence[Exhibit], overrides: Sequence[str], args: Namespace
) -> dict[str, str]:
    """The settings of a verb for drawn figures alone, which have no rows, seeds or settings.

    ``run.results`` at most. Raises UserError for any other, and for ``--only`` and ``--seeds``. A
    preset changes nothing, so it may stand there.
    """
    names = ", ".join(t.name for t in tables)
    for option, given in (("--only", args.only), ("--seeds", args.seeds is not None)):
        if given:
            raise UserError(
                f"{names}: drawn from formulas, without rows, columns or seeds; leave out {option}"
            )
    return only_keys(overrides, ["run.results"], f"{names}, drawn from formulas,")


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically and say so on stderr. UserError where it cannot be written."""
    write_output(path, content)
    tell([f"wrote {path}"])


def put(text: str, output: Path | None) -> None:
    """Write a text to standard output, or to a file."""
    if output is None:
        sys.stdout.write(text)
    else:
        write(output, text)


def tell(lines: Iterable[str]) -> None:
    """Say something on stderr, a line each."""
    for line in lines:
        print(f"vaebench: {line}", file=sys.stderr)
