"""docs/settings.md names every setting of conf/, and what it says of them is what the code does."""

from __future__ import annotations

import pytest
import yaml
from kit.repository import load_script

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.config.cells import GROUPS, OF_OPTION


@pytest.fixture(scope="module")
def script():
    return load_script("settings_page")


@pytest.fixture(scope="module")
def page(script) -> str:
    return script.PAGE.read_text(encoding="utf-8")


def lines_of(page: str, heading: str) -> dict[str, list[str]]:
    """Key -> [default, what is allowed, meaning], from the table below a heading."""
    part = page.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [
        line.replace("\\|", "/").strip("| ").split(" | ")
        for line in part.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_page_is_what_the_script_writes(script, page):
    assert page == script.page(), "run scripts/settings_page.py"


def test_every_option_and_key_has_a_line_with_a_meaning(page):
    """The files are read here by plain YAML, and not by the script that wrote the page."""
    conf = catalogue.conf_dir()
    primary = yaml.safe_load((conf / "cell.yaml").read_text(encoding="utf-8"))
    sections = {f"## {group}": (group, primary[group]) for group in ("train", "run")}

    for group in GROUPS:
        for path in (conf / group).glob("*.yaml"):
            option = yaml.safe_load(path.read_text(encoding="utf-8"))
            sections[f"### {group}={path.stem}"] = (
                group,
                {k: v for k, v in option.items() if k not in OF_OPTION},
            )

    assert len(sections) > 30

    for heading, (group, keys) in sections.items():
        rows = lines_of(page, f"\n{heading}")
        assert list(rows) == [f"{group}.{key}" for key in keys], heading

        for key, value in keys.items():
            default, allowed, meaning = rows[f"{group}.{key}"]
            assert yaml.safe_load(default.strip("`")) == value, (heading, key)
            assert allowed, (heading, key)
            assert meaning, (heading, key)


@pytest.mark.parametrize("preset", catalogue.options("preset"))
def test_every_preset_has_a_line(page, preset):
    assert f"\n| `{preset}` | " in page


@pytest.mark.parametrize(
    ("heading", "key", "wrong"),
    [
        ("## train", "train.batch", "0"),
        ("### data=digits", "data.held_out", "1497"),
        ("### model=sbn", "model.posterior", "mean"),
        ("### objective=nvil", "objective.baseline_units", "0"),
        ("### objective=nvil", "objective.local_signals", "3"),
        ("### eval=bound10", "eval.split", "all"),
    ],
)
def test_what_is_allowed_is_what_the_command_says(page, heading, key, wrong, capsys):
    allowed = lines_of(page, f"\n{heading}")[key][1]
    command = [
        "run",
        "table=nvil_mnist",
        "--only",
        "row=SBN 200",
        "--only",
        "column=NVIL",
        "data=digits",
        "--dry-run",
    ]

    assert main([*command, f"{key}={wrong}"]) == 2

    line = capsys.readouterr().err
    assert key in line
    assert allowed.removeprefix("null or ") in line


def test_a_comment_goes_on_in_the_next_line(script):
    option = script.read(
        "# What it is,\n# and more.\nname: x\na: 1   # first,\n       # and second\nb: [1]\n"
    )
    assert option.about == "What it is, and more."
    assert option.settings == [("name", "x", ""), ("a", "1", "first, and second"), ("b", "[1]", "")]
