"""vaebench: the published tables of classic variational models, each one command.

Data flow in one direction:

    conf/table/*.yaml -> compose -> Cells -> data -> model + objective -> train -> evaluate -> store
    -> report / compare

From Python, ``import vaebench as vb`` offers the names of ``__all__``: see docs/python.md. Each is
loaded when it is first asked for, so the import itself loads nothing.
"""

__version__ = "0.1.0"

__all__ = [
    "UserError",
    "build_model",
    "estimators",
    "load_data",
    "load_model",
    "load_run",
    "reference",
    "table",
    "tables",
]

TYPE_CHECKING = False  # typing.TYPE_CHECKING would need an import
if TYPE_CHECKING:
    from vaebench import estimators
    from vaebench.api.parts import build_model, load_data, load_model
    from vaebench.api.runs import load_run
    from vaebench.api.tables import reference, table, tables
    from vaebench.errors import UserError

_PLACES = {
    "UserError": "errors",
    "build_model": "api.parts",
    "load_data": "api.parts",
    "load_model": "api.parts",
    "load_run": "api.runs",
    "reference": "api.tables",
    "table": "api.tables",
    "tables": "api.tables",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    from importlib import import_module

    if name == "estimators":
        return import_module("vaebench.estimators")
    if name in _PLACES:
        return getattr(import_module(f"vaebench.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'vaebench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
