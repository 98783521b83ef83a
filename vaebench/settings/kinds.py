"""Kinds of settings: how a value is read, and what is allowed.

What is allowed is put in the words of the error line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from vaebench.errors import UserError

MANY = 1_000_000_000
"""Most updates, examples and other things that are counted one by one."""


@dataclass(frozen=True)
class SettingKind:
    """What a setting may be.

    Attributes:
        words: What is allowed, as the error line says it.
        read: Returns a value as it is used (2e6 as 2000000 if whole numbers are wanted). Raises
            ValueError if the value is not allowed.
    """

    words: str
    read: Callable[[Any], Any]

    def check(self, key: str, value: Any, text: str = "") -> Any:
        """Return the value as it is used.

        Args:
            key: The dotted name of the setting.
            value: The value to check.
            text: The setting as the user wrote it, ``KEY=VALUE``, perhaps preceded by its place.

        Raises:
            UserError: If the value is not allowed. The line names the setting, the value and what
                is allowed.
        """
        try:
            return self.read(value)
        except ValueError:
            raise UserError(f"{text or f'{key}={shown(value)}'}: allowed: {self.words}") from None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; true and false are not numbers."""
    # To Python true is an int.
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def shown(value: Any) -> str:
    """Return the value as one would write it in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


# ------------------------------------------------------------------------------------ kinds by name


def whole(least: float = -math.inf, most: float = math.inf) -> SettingKind:
    """Whole numbers; with bounds, those from ``least`` to ``most``."""

    def read(value: Any) -> int:
        if not is_number(value) or value != int(value) or not least <= value <= most:
            raise ValueError
        return int(value)

    return SettingKind(
        f"a whole number from {least} to {most:,}" if least > -math.inf else "a whole number", read
    )


def number(above: float = -math.inf) -> SettingKind:
    """Finite numbers, perhaps above a bound; whole numbers are allowed and become floats."""

    def read(value: Any) -> float:
        if not is_number(value) or value <= above:
            raise ValueError
        return float(value)

    return SettingKind(
        f"a finite number above {above:g}" if above > -math.inf else "a number", read
    )


def from_zero(words: str = "a number from 0") -> SettingKind:
    """Finite numbers that are not negative."""

    def read(value: Any) -> float:
        if not is_number(value) or value < 0:
            raise ValueError
        return float(value)

    return SettingKind(words, read)


def between(low: float, high: float) -> SettingKind:
    """Numbers above one bound and below another."""

    def read(value: Any) -> float:
        if not is_number(value) or not low < value < high:
            raise ValueError
        return float(value)

    return SettingKind(f"a number above {low:,.0f} and below {high:,.0f}", read)


def share() -> SettingKind:
    """Numbers above 0 and below 1."""
    return between(0, 1)


def any_number() -> SettingKind:
    """Finite numbers, for settings whose default does not tell whole from real; 2.0 becomes 2."""

    def read(value: Any) -> float:
        if not is_number(value):
            raise ValueError
        return int(value) if value == int(value) else value

    return SettingKind("a number", read)


def choice(*names: str) -> SettingKind:
    """One of some words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError
        return value

    return SettingKind(" or ".join(names), read)


def word(pattern: str = ".*", words: str = "a word") -> SettingKind:
    """Text that fits a pattern."""
    regex = re.compile(pattern, re.DOTALL)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not regex.fullmatch(value):
            raise ValueError
        return value

    return SettingKind(words, read)


def path(words: str) -> SettingKind:
    """The name of a file or folder."""
    return word(r"[^\0]*", words)


def flag() -> SettingKind:
    """True or false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return SettingKind("true or false", read)


def several(each: SettingKind, most: int = MANY, words: str = "") -> SettingKind:
    """Lists of values of one kind."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError
        return [each.read(v) for v in value]

    return SettingKind(words or f"a list of {each.words.removeprefix('a ')}s", read)


def some(*names: str) -> SettingKind:
    """A list of different words, or one of them alone."""

    def read(value: Any) -> list[str]:
        words = [value] if isinstance(value, str) else value

        # Entries may be of any type, so they are compared as text: a set needs hashable ones.
        if (
            not isinstance(words, list)
            or len({*map(str, words)}) < len(words)
            or not all(w in names for w in words)
        ):
            raise ValueError
        return words

    return SettingKind(f"some of [{','.join(names)}], each once", read)


def or_null(kind: SettingKind) -> SettingKind:
    """Values of a kind, or null."""
    return SettingKind(
        f"null or {kind.words}", lambda value: None if value is None else kind.read(value)
    )


def either(name: str, kind: SettingKind) -> SettingKind:
    """Values of a kind, or one word."""
    return SettingKind(
        f"{name} or {kind.words}", lambda value: value if value == name else kind.read(value)
    )


def anything() -> SettingKind:
    """Any value."""
    return SettingKind("anything", lambda value: value)


def like(default: Any) -> SettingKind:
    """Values of the same type as a default. If the default is null, a number or null."""
    if default is None:
        return or_null(any_number())
    if isinstance(default, list):
        # The first value tells the kind of all.
        return several(like(default[0])) if default else several(anything(), words="a list")

    # By the exact type: isinstance would take true for a whole number.
    return {bool: flag, int: whole, float: number, str: word}[type(default)]()
