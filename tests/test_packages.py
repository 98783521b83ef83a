"""The packages and data files that pyproject.toml puts into a wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
DATA = {"vaebench.conf": "conf", "vaebench.results.published": "results/published"}
DATA["vaebench.results.models"] = "results/models"
DATA["vaebench.results.reference"] = "results/reference"
"""Packages without code -> their folders in a checkout."""


def test_every_package_is_listed() -> None:
    packages = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "vaebench").rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) - set(DATA) == packages


def test_data_are_listed() -> None:
    assert set(DATA) <= set(SETUPTOOLS["packages"])
    assert SETUPTOOLS["package-dir"] == {**DATA, "vaebench": "vaebench"}
    assert {*DATA, "vaebench", "vaebench.running", "vaebench.site"} == set(
        SETUPTOOLS["package-data"]
    )
    assert all((ROOT / folder).is_dir() for folder in DATA.values())
    assert (ROOT / "vaebench" / "py.typed").is_file()
