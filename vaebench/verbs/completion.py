"""``vaebench completion SHELL``, and what is offered when TAB is pressed.

Offered are tables, presets, options, keys and rows.
"""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser, Namespace
from typing import Any

from vaebench.config import completions
from vaebench.verbs import completes

HELP = (
    "Print the shell code that completes vaebench commands; load it in the shell's start-up file."
)
SHELLS = ("bash", "zsh", "fish")
QUOTES = set("\"'\\")


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(args: Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["vaebench"], shell=args.shell))
    return 0


def autocomplete(parser: ArgumentParser) -> None:
    """Answer the shell and exit. Only called if the shell asks (``_ARGCOMPLETE`` is set)."""
    import argcomplete

    _attach(parser)
    os.environ.update(_plain_line(parser))
    argcomplete.autocomplete(parser, always_complete_options="long")


def _plain_line(parser: ArgumentParser) -> dict[str, str]:
    """Return the variables of a command line without options, so that ``key=value`` is completed.

    argparse only takes positional arguments in one stretch. After ``table=a --seeds 0`` it expects
    no more of them, although the command allows them. The result is {} if the line need not change.
    """
    # The line up to the cursor; its last word is what is being completed.
    line = os.environ.get("COMP_LINE", "")
    line = line[: int(os.environ.get("COMP_POINT") or len(line))]
    words = line.split()
    unfinished = ""
    if words and not line[-1].isspace():
        unfinished = words.pop()

    # Options without a value. Any other option at the end of the line waits for its value, and then
    # the line must stay as it is.
    flags = {
        option
        for sub_parser in _sub_parsers(parser).values()
        for option, action in sub_parser._option_string_actions.items()
        if action.nargs == 0
    }

    # words[0] is the program, words[1] the verb.
    value_expected = bool(words) and words[-1].startswith("-") and words[-1] not in flags
    first_option = next((i for i, w in enumerate(words) if i >= 2 and w.startswith("-")), None)
    if (
        first_option is None
        or unfinished.startswith("-")
        or value_expected
        or set(unfinished) & QUOTES
    ):
        return {}

    # All words before the first option stay. Of those behind it only the ``key=value`` stay, which
    # then follow the others directly.
    kept = [
        *words[:first_option],
        *(
            w
            for w in words[first_option:]
            if "=" in w and not w.startswith("-") and not set(w) & QUOTES
        ),
    ]

    line = " ".join([*kept, unfinished])
    return {"COMP_LINE": line, "COMP_POINT": str(len(line.encode()))}


def _sub_parsers(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    return {
        name: sub
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, sub in action.choices.items()
    }


def _attach(parser: ArgumentParser) -> None:
    """Offer overrides, and rows and columns, wherever a verb takes them."""

    def rows_and_columns(prefix: str, **_: Any) -> list[str]:
        return completions.entries(prefix, os.environ.get("COMP_LINE", ""))

    completers = {
        "overrides": lambda prefix, **_: completions.overrides(prefix),
        "only": rows_and_columns,
    }
    for sub_parser in _sub_parsers(parser).values():
        _attach(sub_parser)
    for action in parser._actions:
        if action.dest in completers and not hasattr(action, "completer"):
            completes(action, completers[action.dest])
