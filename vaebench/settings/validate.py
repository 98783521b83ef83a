"""The checks that components apply to the arguments of their constructors.

Components are models, objectives and optimisers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vaebench.errors import UserError, nearest
from vaebench.settings.kinds import is_number


def whole(key: str, value: Any, least: int = 1) -> int:
    """Return ``value`` if it is a whole number from ``least``.

    Otherwise raise UserError naming the setting ``key``.
    """
    if type(value) is not int or value < least:  # true is an instance of int, but not a size
        raise UserError(f"{key}={value!r}: must be a whole number from {least}")
    return value


def positive(key: str, value: Any) -> float:
    """Return ``value`` as a float if it is a finite number above 0.

    Otherwise raise UserError naming the setting ``key``.
    """
    if not is_number(value) or value <= 0:
        raise UserError(f"{key}={value!r}: must be a positive number")
    return float(value)


def from_zero(key: str, value: Any) -> float:
    """Return ``value`` as a float if it is a finite number from 0.

    Otherwise raise UserError naming the setting ``key``.
    """
    if not is_number(value) or value < 0:
        raise UserError(f"{key}={value!r}: must be a number from 0")
    return float(value)


def below_one(key: str, value: Any) -> float:
    """Return ``value`` as a float if it is in [0, 1).

    Otherwise raise UserError naming the setting ``key``.
    """
    if not is_number(value) or not 0 <= value < 1:
        raise UserError(f"{key}={value!r}: must be at least 0 and below 1")
    return float(value)


def between(key: str, value: Any) -> float:
    """Return ``value`` as a float if it is in (0, 1).

    Otherwise raise UserError naming the setting ``key``.
    """
    if not is_number(value) or not 0 < value < 1:
        raise UserError(f"{key}={value!r}: must be a number above 0 and below 1")
    return float(value)


def flag(key: str, value: Any) -> bool:
    """Return ``value`` if it is true or false, else raise UserError naming the setting ``key``."""
    if type(value) is not bool:
        raise UserError(f"{key}={value!r}: must be true or false")
    return value


def one_of(key: str, value: Any, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is ``allowed``.

    Otherwise raise UserError naming the setting ``key`` and the nearest words.
    """
    words = list(allowed)
    if value not in words:
        raise UserError(f"{key}={value!r}: {nearest(str(value), words)}")
    return str(value)


def sizes(key: str, values: Any, odd: bool = False) -> tuple[int, ...]:
    """Return a list of whole numbers from 1 as a tuple; with ``odd`` all must be odd.

    Raises UserError naming the setting ``key`` for anything else.
    """
    # Anything that is no list is kept as it is for the line of the error.
    numbers = list(values) if isinstance(values, (list, tuple)) else values
    valid = isinstance(numbers, list) and all(
        type(n) is int and n > 0 and (n % 2 == 1 or not odd) for n in numbers
    )
    if not valid:
        raise UserError(
            f"{key}={numbers!r}: must be a list of {'odd ' if odd else ''}whole numbers from 1"
        )
    return tuple(numbers)
