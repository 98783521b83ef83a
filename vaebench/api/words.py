"""Arguments from Python as the words of a command line, so that both are checked in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vaebench.errors import UserError
from vaebench.settings.kinds import shown


def flag(name: str, given: bool) -> bool:
    """Return an argument that must be True or False.

    Raises UserError for all else, also for ``"no"``, which Python would take for True.
    """
    if not isinstance(given, bool):
        raise UserError(f"{name}={given!r}: allowed: True or False")
    return given


def name(argument: str, given: Any, *others: type) -> str:
    """Return a name, or a value of type ``others``, as text. Raises UserError for all else."""
    if not isinstance(given, (str, *others)):
        allowed = "a name" if not others else f"a name or a {others[0].__name__}"
        raise UserError(f"{argument}={given!r}: allowed: {allowed}")
    return str(given)


def overrides(group: str, settings: Mapping[str, Any]) -> list[str]:
    """Return settings as overrides: ``model.dims=[20,10]`` for ``dims=(20, 10)``, null for None."""
    return [f"{group}.{name}={_shown(value)}" for name, value in settings.items()]


def only(rows: str | Iterable[str] | None, columns: str | Iterable[str] | None) -> list[str]:
    """Return the choice of rows and columns as ``--only`` takes it; None chooses all of them."""
    return [f"row={name}" for name in _several(rows)] + [
        f"column={name}" for name in _several(columns)
    ]


def seeds(chosen: int | Iterable[int] | None) -> str | None:
    """Return seeds as ``--seeds`` takes them; None if none were chosen."""
    if chosen is None:
        return None
    return ",".join(map(str, chosen)) if isinstance(chosen, Iterable) else str(chosen)


def _shown(value: Any) -> str:
    return shown(list(value) if isinstance(value, tuple) else value)


def _several(names: str | Iterable[str] | None) -> list[str]:
    if names is None:
        return []
    if not isinstance(names, Iterable):
        raise UserError(f"rows or columns {names!r}: allowed: a name, several, or None for all")
    return [names] if isinstance(names, str) else list(names)
