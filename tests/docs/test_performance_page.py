"""docs/performance.md shows what the reference measurements say."""

from __future__ import annotations

from kit.repository import load_script


def test_the_numbers_are_those_that_were_measured():
    script = load_script("performance_page")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        "run scripts/performance_page.py"
    )
    assert script.table().count("\n| ") > 8
    assert script.boltzmann_table().count("\n| ") > 8
    assert script.importance_table().count("\n| ") > 6
    assert script.latents_table().count("\n| ") > 4
