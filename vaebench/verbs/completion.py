"""``vaebench completion SHELL``, and what is offered when TAB is pressed: tables, presets, options, keys, rows."""

from __future__ import annotations

import argparse
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from vaebench.config import catalogue
from vaebench.config import cells as config
from vaebench.errors import UserError

HELP = "Print the shell code that completes vaebench commands; load it in the shell's start-up file."
SHELLS = ("bash", "zsh", "fish")
QUOTES = set("\"'\\")


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(args: Namespace) -> int:
    import argcomplete

    print(argcomplete.shellcode(["vaebench"], shell=args.shell))
    return 0


def autocomplete(parser: ArgumentParser) -> None:
    """Answer the shell and exit. Called only when the shell asks (``_ARGCOMPLETE`` is set)."""
    import argcomplete

    _attach(parser)
    os.environ.update(_plain_line(parser))
    argcomplete.autocomplete(parser, always_complete_options="long")


def _plain_line(parser: ArgumentParser) -> dict[str, str]:
    """The command line without its options, where ``key=value`` is completed.

    argparse takes positional arguments in one stretch: after ``table=a --seeds 0`` it expects no more of them, though
    the command does.
    """
    line = os.environ.get("COMP_LINE", "")
    line = line[: int(os.environ.get("COMP_POINT") or len(line))]
    words, last = line.split(), ""
    if words and not line[-1].isspace():
        last = words.pop()
    known = {
        a for sub in _sub_parsers(parser).values() for a, act in sub._option_string_actions.items() if act.nargs == 0
    }
    waits = bool(words) and words[-1].startswith("-") and words[-1] not in known
    first = next((i for i, w in enumerate(words) if i >= 2 and w.startswith("-")), None)
    if first is None or last.startswith("-") or waits or set(last) & QUOTES:
        return {}
    kept = [*words[:first], *(w for w in words[first:] if "=" in w and not w.startswith("-") and not set(w) & QUOTES)]
    line = " ".join([*kept, last])
    return {"COMP_LINE": line, "COMP_POINT": str(len(line.encode()))}


def _sub_parsers(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    return {
        name: sub
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, sub in action.choices.items()
    }


def _attach(parser: ArgumentParser) -> None:
    completers = {"overrides": complete_overrides, "only": complete_only}
    for sub in _sub_parsers(parser).values():
        _attach(sub)
    for action in parser._actions:
        if action.dest in completers and not hasattr(action, "completer"):
            action.completer = completers[action.dest]


def complete_overrides(prefix: str, **_: Any) -> list[str]:
    """``table=NAME``, ``preset=NAME``, ``model=NAME``, ..., and the keys of cell.yaml and of the options."""
    return [word for word in _overrides(prefix) if word.startswith(prefix)]


def _overrides(prefix: str) -> Iterator[str]:
    key, equals, value = prefix.partition("=")
    groups = ("table", "preset", *config.GROUPS)
    if equals and key in groups:
        done, comma, _ = value.rpartition(",") if key == "table" else ("", "", "")
        yield from (f"{key}={done}{comma}{name}" for name in catalogue.options(key))
    elif not equals:
        yield from (f"{group}=" for group in groups)
        yield from (f"{name}=" for name in _keys())


def _keys() -> list[str]:
    """Dotted keys of a cell: of cell.yaml, and of every option of every group."""
    import yaml

    cell = yaml.safe_load((catalogue.conf_dir() / "cell.yaml").read_text(encoding="utf-8"))
    sections = {part: config.settings_of(content) for part, content in cell.items() if isinstance(content, dict)}
    found = {f"{part}.{key}" for part, content in sections.items() for key in content}
    for group in config.GROUPS:
        for name in catalogue.options(group):
            found |= {f"{group}.{key}" for key in config.settings_of(catalogue.load_yaml(group, name))}
    return sorted(found)


def complete_only(prefix: str, **_: Any) -> list[str]:
    """``row=`` and ``column=`` of the tables named on the command line."""
    words = [w for table in _tables_on_line() for r, c in table.trained() for w in (f"row={r}", f"column={c}")]
    return [w for w in dict.fromkeys(words) if w.startswith(prefix)]


def _tables_on_line() -> Iterator[config.Table]:
    for names in re.findall(r"\btable=([\w,.-]+)", os.environ.get("COMP_LINE", "")):
        for name in names.split(","):
            try:
                yield catalogue.load_table(name)
            except UserError:
                continue
