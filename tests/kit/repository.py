"""Where the repository is, and its scripts as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

REFERENCE = ROOT / "results" / "reference"
"""The recorded results."""


def load_script(name):
    """The module ``scripts/NAME.py``, executed anew."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
