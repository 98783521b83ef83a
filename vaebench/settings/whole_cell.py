"""Checks of a cell's whole configuration against what its settings may be."""

from __future__ import annotations

from typing import Any

from vaebench.errors import UserError
from vaebench.settings.kinds import MANY, SettingKind, like, number, or_null, shown
from vaebench.settings.records import KINDS, SAMPLES, WIDTH

WIDE = ("samples", "chains", "sweeps", "temperatures", "units", "points")
"""Last words of the names of an objective's settings that multiply its memory."""

NULLABLE = ("objective.grow", "objective.svi_clip", "objective.valid_points", "optim.clip")
"""Settings of components with a number as default that may also be null, as their constructors
say."""

RATE = number(above=0)


def kind_of(key: str, default: Any) -> SettingKind:
    """Return what a setting may be.

    Settings that are not declared are those of components: their kind is that of the default, and
    the component checks them further.
    """
    if key in KINDS:
        return KINDS[key]

    group, _, name = key.rpartition(".")
    if group == "optim" and name.endswith("rate"):
        return RATE if default is not None else or_null(RATE)

    return or_null(like(default)) if default is not None and key in NULLABLE else like(default)


def check_cell(config: dict[str, Any]) -> None:
    """Refuse a cell's configuration (nested plain dicts) if a setting is out of range.

    Keys that the chosen options do not have are skipped. ``optim.rate`` must be a finite number
    above 0; other ``optim`` keys that end in ``_rate`` may also be null. Raises UserError naming
    the key, the value and the range.
    """
    # ``check`` may return a value as another type (2e6 as 2000000). Values of overrides have been
    # converted already. One that still has another type, from conf/ or a stored run, is refused.
    for key, kind in KINDS.items():
        group, _, name = key.rpartition(".")
        section = config.get(group, {}) if group else config
        if name in section and type(kind.check(key, section[name])) is not type(section[name]):
            raise UserError(f"{key}={shown(section[name])}: allowed: {kind.words}")

    # Sections without declared kinds: their components check them when they are built. Sizes and
    # learning rates are checked here as well, before anything is built.
    for group in ("model", "objective", "optim"):
        for name, value in config.get(group, {}).items():
            _check_size(group, name, value)
    for name, value in config.get("optim", {}).items():
        if name == "rate" or (name.endswith("_rate") and value is not None):
            RATE.check(f"optim.{name}", value)


def _check_size(group: str, name: str, value: Any) -> None:
    """Refuse a size too large for any machine; all else is checked by the component itself."""
    if name.endswith("rate"):  # not a size, though it may be written without a point
        return

    # Sizes of models, and settings that multiply an objective's memory, have a lower limit than
    # other counts.
    largest = WIDTH if group == "model" else SAMPLES if name.rpartition("_")[2] in WIDE else MANY
    numbers = value if isinstance(value, list) else [value]
    if any(type(n) is int and n > largest for n in numbers):
        raise UserError(f"{group}.{name}={shown(value)}: allowed: at most {largest:,}")
