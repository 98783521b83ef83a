"""The defaults of a cell's settings, read from the files of conf/ without Hydra."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from vaebench.errors import UserError
from vaebench.files import carried


@lru_cache(maxsize=1)
def conf_dir() -> Path:
    """Return the folder of the shipped configuration. Raises UserError if it is missing."""
    folder = carried("conf")
    if folder is None:
        raise UserError("the configuration is missing; install vaebench again")
    return folder


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a file of conf/. Raises UserError if it is not YAML or no mapping."""
    # The loader in C is faster and reads the same. PyYAML may have been built without it.
    try:
        content = yaml.load(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping, found {type(content).__name__}")
    return content


@lru_cache(maxsize=256)
def of_option(group: str, name: str) -> dict[str, Any]:
    """Return the settings of an option with their defaults, from conf/<group>/<name>.yaml.

    {} if the option is not shipped. The mapping is shared: it must not be changed.
    """
    path = conf_dir() / group / f"{name}.yaml"

    # A name with a slash would be a file elsewhere, not an option.
    shipped = path.parent == conf_dir() / group and path.is_file()
    return read(path) if shipped else {}


@lru_cache(maxsize=1)
def of_cell() -> dict[str, Any]:
    """Return the primary file, conf/cell.yaml. The mapping is shared: it must not be changed."""
    return read(conf_dir() / "cell.yaml")


def of_section(name: str) -> dict[str, Any]:
    """Return the settings of ``train`` or ``run`` with their defaults.

    The mapping is shared: it must not be changed.
    """
    return of_cell()[name]


def results_root(chosen: str | None = None) -> Path:
    """Return the folder of the run directories.

    It is that of the override ``run.results=DIR``, else the default of conf/cell.yaml. Raises
    UserError if something else is in its place.
    """
    return folder_of_runs(Path(chosen or of_section("run")["results"]).expanduser())


def folder_of_runs(root: Path) -> Path:
    """Return the folder ``root``, which need not exist yet.

    Raises UserError if a file is in its place, or in the place of a folder above it.
    """
    # The folder itself if it exists, else the nearest folder above it that does.
    try:
        existing = next((place for place in (root, *root.parents) if place.exists()), None)
    except OSError as e:
        raise UserError(f"run.results={root}: cannot be read: {e.strerror or e}") from None
    if existing is not None and not existing.is_dir():
        problem = "not a folder" if existing == root else f"{existing} is not a folder"
        raise UserError(f"run.results={root}: {problem}")
    return root
