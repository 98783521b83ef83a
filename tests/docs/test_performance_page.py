"""docs/performance.md shows what the reference measurements say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "performance_page.py"


def test_the_numbers_are_those_that_were_measured():
    spec = importlib.util.spec_from_file_location("performance_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run scripts/performance_page.py"
    assert script.table().count("\n| ") > 8
    assert script.boltzmann_table().count("\n| ") > 8
    assert script.importance_table().count("\n| ") > 6
    assert script.latents_table().count("\n| ") > 4
