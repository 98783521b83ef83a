"""``result.json``, the outcome of a run.

It is read with care, because it may be damaged or written by hand. A damaged one is kept.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vaebench.config.cells import IDENTITY
from vaebench.errors import UserError
from vaebench.files import parse_json, write_atomic
from vaebench.results.stats import Measure
from vaebench.settings.kinds import is_number

log = logging.getLogger(__name__)

SECTIONS = (*IDENTITY, "eval")
"""Parts of a ``config`` that are mappings."""


def _whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def is_config(value: Any) -> bool:
    """Whether ``value`` is an object with the objects SECTIONS, as a cell's configuration is."""
    return isinstance(value, dict) and all(isinstance(value.get(group), dict) for group in SECTIONS)


Test = tuple[str, Callable[[Any], bool]]

TEXT: Test = ("text", lambda v: isinstance(v, str))
WHOLE: Test = ("a whole number", _whole)
NUMBER: Test = ("a number", is_number)
MAPPING: Test = ("an object", lambda v: isinstance(v, dict))

FIELDS: dict[str, Test] = {
    "status": TEXT,
    "reason": TEXT,
    "config": (f"an object with the objects {', '.join(SECTIONS)}", is_config),
    **dict.fromkeys(("updates", "best_update", "pack"), WHOLE),
    **dict.fromkeys(("seconds", "eval_seconds", "updates_per_second", "peak_memory_mb"), NUMBER),
    **dict.fromkeys(("device", "engine", "clock"), TEXT),
    **dict.fromkeys(("versions", "data"), MAPPING),
    "measures": ("a list", lambda v: isinstance(v, list)),
}
"""Content of a result: name -> (its type in words, the test of it). All but ``status`` may be
missing or null."""

_told: set[Path] = set()
"""Damaged files and folders that this process has warned of."""


def warn_once(path: Path, message: str) -> None:
    """Warn of what is damaged, once for each path.

    A worker does not warn: its parent has read the same before, and warned.
    """
    import multiprocessing

    if path not in _told and multiprocessing.parent_process() is None:
        log.warning("%s", message)
    _told.add(path)


def parse(content: bytes) -> dict[str, Any]:
    """Return a result from the bytes of its file.

    Raises ValueError with a few words if it is damaged.
    """
    result = parse_json(content)
    if not isinstance(result, dict):
        raise ValueError("expected an object")
    if "status" not in result:
        raise ValueError("no status in it")

    # null stands for what is not known. A status is always known.
    for name, (words, fits) in FIELDS.items():
        value = result.get(name)
        if not fits(value) and (value is not None or name == "status"):
            raise ValueError(f"{name}: expected {words}")
    return result


def readable_measures(result: Mapping[str, Any]) -> list[Measure]:
    """Return the measures of a result, without those that cannot be read."""
    measures = []
    contents = result.get("measures")

    # ``parse`` does not look into the measures: one that cannot be read must not cost the others.
    for content in contents if isinstance(contents, list) else []:
        with contextlib.suppress(ValueError):
            measures.append(Measure.from_dict(content))
    return measures


def read(path: Path) -> dict[str, Any] | None:
    """Return the result; None if there is none or, with one warning, if it is damaged.

    Raises:
        UserError: If the file exists but cannot be read, so that its content is not known.
    """
    content = _content(path)
    if content is None:
        return None
    try:
        return parse(content)
    except ValueError as e:
        warn_once(path, f"{path} is damaged and taken as missing: {' '.join(str(e).split())}")
        return None


def write(path: Path, text: str) -> None:
    """Replace the whole result.

    A damaged one is kept beside it under a name of its own, ``result.json.damaged``.

    Raises:
        UserError: If the old file exists but cannot be read: nothing is replaced then.
        OSError: If the new one cannot be written; an intact old file is unchanged.
    """
    # What is damaged may still be mended by hand, so it is moved aside and not lost.
    old = _content(path)
    if old is not None and _damaged(old):
        aside = _free(path.with_name(f"{path.name}.damaged"))
        path.rename(aside)
        log.warning("%s was damaged: kept as %s, a new one is written", path, aside.name)
    write_atomic(path, text)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise UserError(
            f"{path}: cannot be read: {e.strerror or e}; nothing was replaced"
        ) from None


def _damaged(content: bytes) -> bool:
    try:
        parse(content)
    except ValueError:
        return True
    return False


def _free(path: Path) -> Path:
    """Return the path, or the first of ``path-2``, ``path-3``, ... that does not exist yet."""
    candidate = path
    number = 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
