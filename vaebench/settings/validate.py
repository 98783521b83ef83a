"""What a setting may be: its type, that of its default, and the ranges of data, optim, train, eval and run.

Models and objectives check the ranges of their own settings where they are built, with the checks given here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any, TypeGuard

from vaebench.errors import UserError
from vaebench.rng.seeds import LARGEST_SEED

MANY = 1_000_000_000
"""Most updates, cases and other things that are counted off one by one."""
SAMPLES = 1_000_000
"""Most samples, chains, temperatures and sweeps: a thousand times what any paper here uses."""
WIDTH = 100_000
"""Most units of a layer, and most cases of a batch: several times the largest that is published."""
SEVERAL = 10_000
"""Most seeds in a pack, repeated evaluations and snapshots."""
WIDE = ("samples", "chains", "sweeps", "temperatures", "units", "points")
"""Last words of the names of an objective's settings that multiply its memory."""

PROCESSES = max(64, 4 * (os.cpu_count() or 1))
"""Most threads and most jobs. Many more threads than cores hang; a run of a larger machine must still be readable."""


def _whole(value: Any, least: int, most: float = math.inf) -> bool:
    return type(value) is int and least <= value <= most


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; true and false are none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def whole(key: str, value: Any, least: int = 1) -> int:
    """``value`` if it is a whole number from ``least``; raises UserError naming the setting ``key`` otherwise."""
    if not _whole(value, least):
        raise UserError(f"{key}={value!r}: must be a whole number from {least}")
    return value


def positive(key: str, value: Any) -> float:
    """``value`` as a float if it is a finite number above 0; raises UserError naming the setting ``key`` otherwise."""
    if not is_number(value) or value <= 0:
        raise UserError(f"{key}={value!r}: must be a positive number")
    return float(value)


def flag(key: str, value: Any) -> bool:
    """``value`` if it is true or false; raises UserError naming the setting ``key`` otherwise."""
    if type(value) is not bool:
        raise UserError(f"{key}={value!r}: must be true or false")
    return value


def _from(least: int, most: int = MANY) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number from {least} to {most:,}", lambda v: _whole(v, least, most)


def _null_or(least: int, most: int = MANY) -> tuple[str, Callable[[Any], bool]]:
    words, good = _from(least, most)
    return f"null or {words}", lambda v: v is None or good(v)


def _one_of(*allowed: str) -> tuple[str, Callable[[Any], bool]]:
    return " or ".join(allowed), lambda v: v in allowed


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")

RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "recipe": _from(1),
    "data.held_out": _null_or(1),
    "data.held_out_seed": _from(0, LARGEST_SEED),
    "data.entries": _null_or(1),
    "train.updates": _from(1),
    "train.batch": _from(1, WIDTH),
    "train.unit": _one_of("updates", "epochs"),
    "train.order": _one_of("replacement", "shuffle", "lengths", "buckets"),
    "train.valid_every": _from(1),
    "train.valid_samples": _from(1, SAMPLES),
    "train.patience": _null_or(1),
    "train.cases": _null_or(1),
    "train.snapshots": (
        f"a list of at most {SEVERAL:,} whole numbers from 0 to {MANY:,}",
        lambda v: isinstance(v, list) and len(v) <= SEVERAL and all(_whole(n, 0, MANY) for n in v),
    ),
    "train.select": _one_of("valid_bound", "last"),
    "eval.split": _one_of("test", "valid", "train"),
    "eval.points": _null_or(1),
    "eval.means": _one_of("test", "valid", "train"),
    "eval.bound_samples": _from(1, SAMPLES),
    "eval.iw_samples": _null_or(1, SAMPLES),
    "eval.mi_batch": _from(2, WIDTH),
    "eval.repeats": _from(1, SEVERAL),
    "eval.logz_method": _one_of("auto", "exact", "ais", "tempering"),
    "eval.logz_temperatures": _from(1, SAMPLES),
    "eval.logz_chains": _from(2, SAMPLES),
    "eval.logz_sweeps": _from(1, SAMPLES),
    "eval.posterior_temperatures": _from(1, SAMPLES),
    "run.device": ("auto, cpu, cuda or cuda:N", lambda v: isinstance(v, str) and _DEVICE.fullmatch(v) is not None),
    "run.threads": _from(1, PROCESSES),
    "run.jobs": (f"auto or a whole number from 1 to {PROCESSES}", lambda v: v == "auto" or _whole(v, 1, PROCESSES)),
    "run.engine": _one_of("auto", "plain", "compiled", "kernel"),
    "run.pack": _from(1, SEVERAL),
    "run.results": ("a folder", lambda v: _is_path(v) and v.strip() != ""),
    "data.mirror": ("null or a folder", lambda v: v is None or _is_path(v)),
    **dict.fromkeys(("data.train", "data.valid", "data.test"), ("null or a file", lambda v: v is None or _is_path(v))),
}
"""Dotted key -> (what is allowed, in words; the test of a value)."""


def validate(config: dict[str, Any]) -> None:
    """Refuse a cell's configuration (nested plain dicts) whose settings are out of range.

    Keys that the chosen options do not have are skipped. Every ``optim`` key that ends in ``rate`` must be a finite
    number above 0, or null, but for ``rate`` itself (``typed`` knows which may be null). Raises UserError naming the
    key, the value and the range.
    """
    for key, (allowed, good) in RULES.items():
        group, _, name = key.rpartition(".")
        section = config.get(group, {}) if group else config
        if name in section and not good(section[name]):
            raise UserError(f"{key}={shown(section[name])}: allowed: {allowed}")
    _check_sizes(config)
    for name, value in config.get("optim", {}).items():
        if name != "rate" and not name.endswith("_rate"):
            continue
        if value is None and name != "rate":
            continue
        if not is_number(value) or value <= 0:
            raise UserError(f"optim.{name}={shown(value)}: allowed: a finite number above 0")


def _check_sizes(config: dict[str, Any]) -> None:
    """Refuse sizes of a model or an objective beyond what any machine could hold; the rest they check themselves."""
    for group in ("model", "objective", "optim"):
        for name, value in config.get(group, {}).items():
            most = WIDTH if group == "model" else SAMPLES if name.rpartition("_")[2] in WIDE else MANY
            numbers = value if isinstance(value, list) else [value]
            counts = not name.endswith("rate")  # a number that was written without a point
            if counts and any(type(n) is int and n > most for n in numbers):
                raise UserError(f"{group}.{name}={shown(value)}: allowed: at most {most:,}")


def shown(value: Any) -> str:
    """The value as one would write it in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def in_range(key: str, value: Any) -> Any:
    """``value`` if its key's rule in RULES allows it; raises UserError naming the setting, the value and the range."""
    allowed, good = RULES[key]
    if not good(value):
        raise UserError(f"{key}={shown(value)}: allowed: {allowed}")
    return value


# ------------------------------------------------------------------------------------------------------- types

NULLABLE = ("eval.iw_samples", "objective.valid_points", "optim.clip")
"""Keys with a number as default that may be null as well. A key whose default is null may always be a number."""


def typed(key: str, default: Any, value: Any, text: str) -> Any:
    """``value`` as the type of ``default``: 2e6 becomes 2000000 where an int is wanted, 1 becomes 1.0 for a float.

    Raises UserError, beginning with ``text`` (the override as it was written), where the value has another type.
    """
    nullable = default is None or key in NULLABLE
    if key == "run.jobs" and type(value) is int:
        return value
    if nullable and value is None:
        return None
    good, value = _fits(default, value)
    if not good:
        wanted = _type_name(default) + (" or null" if nullable else "")
        raise UserError(f"{text}: expected {wanted}, as in {key}={shown(default)}")
    return value


def _fits(default: Any, value: Any) -> tuple[bool, Any]:
    number = is_number(value)
    integral = number and value == int(value)
    if isinstance(default, bool):
        return isinstance(value, bool), value
    if default is None:
        return number, int(value) if integral else value
    if isinstance(default, int):
        return integral, int(value) if integral else value
    if isinstance(default, float):
        return number, float(value) if number else value
    if isinstance(default, list):
        if not isinstance(value, list):
            return False, value
        if not default:
            return True, [_fits(None, v)[1] if is_number(v) else v for v in value]
        pairs = [_fits(default[0], v) for v in value]
        return all(good for good, _ in pairs), [v for _, v in pairs]
    return isinstance(value, type(default)), value


def _type_name(default: Any) -> str:
    if isinstance(default, list):
        return f"a list of {_type_name(default[0]).split(' ', 1)[1]}s" if default else "a list"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "a number"}
    return names[type(default)]
