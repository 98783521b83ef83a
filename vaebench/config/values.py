"""Values of overrides: read by Hydra's grammar and laid over the defaults.

A value must have the type of what it replaces. Tables repeat few overrides in many cells, so each
is read once.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from vaebench.config.cells import GROUPS, OF_OPTION, PLACES, VERSION
from vaebench.errors import TYPO, UserError, likely, nearest
from vaebench.formatting import shortened
from vaebench.settings.whole_cell import kind_of

PATHS = ("run.results", *(f"data.{name}" for name in PLACES))
"""Keys whose value is a path, taken as it is written: ``~``, ``=`` and accents are fine."""

WITH_COMMAS = ("run.partition",)
"""Keys whose value is one text even if it has commas."""

MOVED = {"run.compile": "write run.engine=plain for off, run.engine=compiled for on"}
"""Keys of earlier versions, and what replaces them."""


class NotOfOption(UserError):
    """A key that its group does not have, at least not with the option that a cell chose."""


def overlay(defaults: dict[str, Any], values: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the defaults with each (where, key, override) laid over them.

    Of several overrides of a key the last one counts. A value has the type of its default.
    """
    default_of = dict(leaves(defaults))  # dotted key -> value
    config = copy.deepcopy(defaults)
    value_of: dict[str, tuple[Any, str]] = {}  # dotted key -> (value, override with its place)

    # Every override is read, even one that a later one replaces: its mistakes are still reported.
    for where, key, text in values:
        _known_key(where, key, default_of, defaults)
        value_of[key] = _read(where, key, text), where + text

    # Only the value that counts must be of the kind that is allowed.
    for key, (value, text) in value_of.items():
        section, name = _place(config, key)
        section[name] = kind_of(key, default_of[key]).check(key, value, text)
    return config


def _place(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that has a dotted key, and the key's name in it."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config), name


def _known_key(where: str, key: str, default_of: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Refuse a key that is no setting, with a line that says what was probably meant.

    Args:
        where: Place of the override; the line begins with it.
        key: The dotted key.
        default_of: All dotted keys, with their defaults.
        defaults: The same as nested sections.

    Raises:
        UserError: If it is no setting.
    """
    group = key.partition(".")[0]
    if group == "hydra":
        raise UserError(
            f"{where}{key}: Hydra's own settings have no part here; set keys of a "
            "cell, such as optim.rate"
        )
    # An option's name and version are known keys, but no settings.
    if key in default_of:
        if group in GROUPS and key == f"{group}.name":
            raise UserError(f"{where}{key} follows from the chosen option: write {group}=NAME")
        if key == f"{group}.{VERSION}":
            raise UserError(f"{where}{key} says what the code computes; no override changes it")
        return

    # An unknown key. From here on the best explanation is looked for, the surest first.
    if key in MOVED:
        raise UserError(f"{where}{key} is gone: {MOVED[key]}")

    settings = [k for k in default_of if k.rpartition(".")[2] not in OF_OPTION]
    of_group = [k for k in settings if k.partition(".")[0] == group]
    if key in defaults:
        raise UserError(
            f"{where}{key} has keys of its own, set one at a time: {', '.join(of_group)}"
        )

    option = f" of {group}={defaults[group]['name']}" if group in GROUPS else ""
    if of_group:
        raise NotOfOption(f"{where}unknown key {key!r}{option}: {nearest(key, of_group)}")

    # The group itself is wrong or left out, so the last part of the key is the best clue.
    namesakes = [k for k in default_of if k.rpartition(".")[2] == key.rpartition(".")[2]]
    if namesakes:
        raise UserError(
            f"{where}unknown key {key!r}: did you mean {' or '.join(map(repr, namesakes))}?"
        )

    words = ("table", "preset", *GROUPS)
    guess = likely(key, words, TYPO) or likely(key, settings)
    raise UserError(
        f"{where}unknown key {key!r}: {guess.strip() or 'allowed groups: ' + ', '.join(defaults)}"
    )


def _read(where: str, key: str, text: str) -> Any:
    """Return the value of one override, by Hydra's grammar or as a path.

    For a path, null is None; a folder called null is written ./null.
    """
    raw = text.partition("=")[2]
    if key in PATHS:
        return None if raw == "null" else os.path.expanduser(raw)

    if "${" in raw:
        raise UserError(f"{where}{text}: interpolations have no part here; write the value itself")

    from hydra.errors import HydraException

    try:
        override = _parsed(text)
    except HydraException as e:
        raise UserError(
            f"{where}cannot read the value {raw!r} of {key}: {_unbalanced(raw) or _why(e)}"
        ) from None
    except (ValueError, RecursionError):  # thousands of digits, thousands of brackets
        raise UserError(
            f"{where}cannot read the value {shortened(raw)!r} of {key}: too long"
        ) from None

    # Hydra takes values with commas for a sweep, one run for each.
    if override.is_sweep_override():
        if key in WITH_COMMAS:
            return raw
        raise UserError(f"{where}{text}: one value each, please; a list is written {key}=[1,2]")
    return override.value()


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """Return Hydra's reading of an override; it is cached, as tables repeat few of them.

    Raises HydraException if Hydra cannot read it. An equals sign in a value needs no quotes
    (``run.sbatch=[account=NAME]``), although Hydra alone would want them.
    """
    # A value with quotes or backslashes stays as the user wrote it: another backslash could change
    # its meaning.
    key, equals, raw = text.partition("=")
    unquoted = not any(mark in raw for mark in "'\"\\")
    return _parser().parse_override(key + equals + (raw.replace("=", "\\=") if unquoted else raw))


@lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of nested sections: its dotted key, and its value."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def refuse_prefix(argument: str) -> None:
    """Refuse what only Hydra's own command line would understand. Raises UserError."""
    if argument.startswith(("+", "~")):
        raise UserError(
            f"{argument}: the prefixes +, ++ and ~ have no part here; write key=value, "
            "and null for nothing"
        )
    if argument.partition("=")[0].strip().startswith("hydra."):
        raise UserError(
            f"{argument}: Hydra's own settings have no part here; set keys of a "
            "cell, such as optim.rate"
        )


def _unbalanced(raw: str) -> str:
    """Say which bracket or quote of a value has no partner; '' if all have one."""
    for opening, closing in ("[]", "{}", "()"):
        if raw.count(opening) != raw.count(closing):
            surplus = opening if raw.count(opening) > raw.count(closing) else closing
            return f"a {surplus} without its partner"

    unpaired = next((quote for quote in "'\"" if raw.count(quote) % 2), "")
    return f"a {unpaired} without its partner" if unpaired else ""


def _why(error: Exception) -> str:
    """Return the message of Hydra's parser without the list of what it expected."""
    return " ".join(str(error).split()).partition(" expecting {")[0]
