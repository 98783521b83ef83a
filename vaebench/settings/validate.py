"""A whole configuration held to what its settings may be, and the checks with which components check their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vaebench.errors import UserError, nearest
from vaebench.settings.kinds import MANY, SettingKind, is_number, like, number, or_null, shown
from vaebench.settings.records import KINDS, SAMPLES, WIDTH

WIDE = ("samples", "chains", "sweeps", "temperatures", "units", "points")
"""Last words of the names of an objective's settings that multiply its memory."""

NULLABLE = ("objective.grow", "objective.svi_clip", "objective.valid_points", "optim.clip")
"""Settings of components with a number as default that may be null as well, as their constructors say."""

RATE = number(above=0)


def kind_of(key: str, default: Any) -> SettingKind:
    """What a setting may be: as declared, and of a component as its default is, which the component checks further."""
    if key in KINDS:
        return KINDS[key]
    group, _, name = key.rpartition(".")
    if group == "optim" and name.endswith("rate"):
        return RATE if default is not None else or_null(RATE)
    return or_null(like(default)) if default is not None and key in NULLABLE else like(default)


def validate(config: dict[str, Any]) -> None:
    """Refuse a cell's configuration (nested plain dicts) whose settings are out of range.

    Keys that the chosen options do not have are skipped. Every ``optim`` key that ends in ``rate`` must be a finite
    number above 0, or null, but for ``rate`` itself. Raises UserError naming the key, the value and the range.
    """
    for key, kind in KINDS.items():
        group, _, name = key.rpartition(".")
        section = config.get(group, {}) if group else config
        if name in section and type(kind.check(key, section[name])) is not type(section[name]):
            raise UserError(f"{key}={shown(section[name])}: allowed: {kind.words}")

    for group in ("model", "objective", "optim"):
        for name, value in config.get(group, {}).items():
            _check_size(group, name, value)
    for name, value in config.get("optim", {}).items():
        if name == "rate" or (name.endswith("_rate") and value is not None):
            RATE.check(f"optim.{name}", value)


def _check_size(group: str, name: str, value: Any) -> None:
    """Refuse a size beyond what any machine could hold; all else the component checks itself."""
    if name.endswith("rate"):  # a number that may be written without a point
        return
    most = WIDTH if group == "model" else SAMPLES if name.rpartition("_")[2] in WIDE else MANY
    numbers = value if isinstance(value, list) else [value]
    if any(type(n) is int and n > most for n in numbers):
        raise UserError(f"{group}.{name}={shown(value)}: allowed: at most {most:,}")


# --------------------------------------------------------------------------------------- what components check with


def whole(key: str, value: Any, least: int = 1) -> int:
    """``value`` if it is a whole number from ``least``; raises UserError naming the setting ``key`` otherwise."""
    if type(value) is not int or value < least:
        raise UserError(f"{key}={value!r}: must be a whole number from {least}")
    return value


def positive(key: str, value: Any) -> float:
    """``value`` as a float if it is a finite number above 0; raises UserError naming the setting ``key`` otherwise."""
    if not is_number(value) or value <= 0:
        raise UserError(f"{key}={value!r}: must be a positive number")
    return float(value)


def from_zero(key: str, value: Any) -> float:
    """``value`` as a float if it is a finite number from 0; raises UserError naming the setting ``key`` otherwise."""
    if not is_number(value) or value < 0:
        raise UserError(f"{key}={value!r}: must be a number from 0")
    return float(value)


def share(key: str, value: Any) -> float:
    """``value`` as a float if it is in [0, 1); raises UserError naming the setting ``key`` otherwise."""
    if not is_number(value) or not 0 <= value < 1:
        raise UserError(f"{key}={value!r}: must be at least 0 and below 1")
    return float(value)


def between(key: str, value: Any) -> float:
    """``value`` as a float if it is in (0, 1); raises UserError naming the setting ``key`` otherwise."""
    if not is_number(value) or not 0 < value < 1:
        raise UserError(f"{key}={value!r}: must be a number above 0 and below 1")
    return float(value)


def flag(key: str, value: Any) -> bool:
    """``value`` if it is true or false; raises UserError naming the setting ``key`` otherwise."""
    if type(value) is not bool:
        raise UserError(f"{key}={value!r}: must be true or false")
    return value


def one_of(key: str, value: Any, allowed: Iterable[str]) -> str:
    """``value`` if it is ``allowed``; raises UserError naming the setting ``key`` and the nearest words otherwise."""
    words = list(allowed)
    if value not in words:
        raise UserError(f"{key}={value!r}: {nearest(str(value), words)}")
    return str(value)


def sizes(key: str, values: Any, odd: bool = False) -> tuple[int, ...]:
    """A list of whole numbers from 1, odd ones where asked for. Raises UserError naming the setting ``key``."""
    listed = list(values) if isinstance(values, (list, tuple)) else values
    good = isinstance(listed, list) and all(type(n) is int and n > 0 and (n % 2 == 1 or not odd) for n in listed)
    if not good:
        raise UserError(f"{key}={listed!r}: must be a list of {'odd ' if odd else ''}whole numbers from 1")
    return tuple(listed)
