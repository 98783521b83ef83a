"""All pages together: links lead somewhere, commands are understood, every page is linked, and
forks install and test as the README says."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml
from kit.repository import ROOT

from vaebench import __version__, cli
from vaebench.config import catalogue, compose, selection

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TESTED_ELSEWHERE = ("README.md", "own-data.md", "extending.md")
"""Pages whose commands are run by tests of their own."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(path: Path) -> list[str]:
    """The lines of all fences without a language, which hold commands; comments are cut off."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)
    lines = [line for language, block in fences if not language for line in block.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page

        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_recorded_results_that_a_sentence_names_exist():
    named_files = {
        file
        for page in PAGES
        for file in re.findall(
            r"`(?:[\w.]+=)?(results/reference/[\w/\-]+\.csv)`", page.read_text(encoding="utf-8")
        )
    }

    assert named_files
    assert [file for file in sorted(named_files) if not (ROOT / file).exists()] == []


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [
        named(p) for p in PAGES if p.name != "README.md" and f"({named(p)})" not in readme
    ] == []


def test_every_script_is_named():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+\.py)`", page.partition("## Scripts")[2])

    assert sorted(named) == sorted(path.name for path in (ROOT / "scripts").glob("*.py"))


def test_what_the_architecture_names_is_where_it_says():
    """Files that the page names exist. A name behind a file, as in `file.py`, `name`, is defined in
    it."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "vaebench"
    named_files = [
        name
        for name in re.findall(r"`([\w/]+\.py)`", page)
        if "/" in name and not name.startswith("tests/")
    ]

    assert len(named_files) > 15
    assert [name for name in named_files if not (package / name).exists()] == []

    inside = re.findall(r"`([\w/]+\.py)`, `(\w+)`", page)
    assert len(inside) >= 3
    for file, name in inside:
        assert re.search(
            rf"^(def|class) {name}\b", (package / file).read_text(encoding="utf-8"), re.M
        ), (file, name)


# Settings within a sentence: `run.name=value`.
INLINE = {(p, s) for p in PAGES for s in re.findall(r"`(run\.\w+=[^`\s]+)`", p.read_text("utf-8"))}


@pytest.mark.parametrize(
    ("page", "setting"), sorted((p, s) for p, s in INLINE if not s.endswith("..."))
)
def test_a_setting_in_a_sentence_may_be_set(page, setting):
    assert compose.cells(
        catalogue.load_table("nvil_mnist"), catalogue.load_preset("paper"), [setting]
    )


OTHERS = [(p, c) for p in PAGES if p.name not in TESTED_ELSEWHERE for c in commands(p)]


@pytest.mark.parametrize(
    ("page", "command"), [(p, c) for p, c in OTHERS if re.match(r"(\.venv/bin/)?vaebench ", c)]
)
def test_a_command_is_understood(page, command, capsys):
    words = shlex.split(command)[1:]
    module = importlib.import_module(f"vaebench.verbs.{words[0]}")
    arguments = cli._configured(cli.Parser(prog="vaebench"), module).parse_intermixed_args(
        words[1:]
    )

    if words[0] == "run" and "TABLE" not in command:
        selected = selection.parse(arguments.overrides)
        for table in selected.tables:
            preset = catalogue.load_preset(selected.preset)
            assert compose.cells(
                catalogue.load_table(table), preset, selected.overrides, arguments.only
            )
    if words[0] in ("ls", "show") or "--dry-run" in words:
        assert cli.main(words) == 0


@pytest.mark.parametrize(
    ("page", "command"), [(p, c) for p, c in OTHERS if "/bin/" in c or c.startswith("python ")]
)
def test_what_a_command_names_is_there(page, command):
    words = [word for word in command.split() if re.match(r"(tests|scripts)/", word)]
    assert all((ROOT / word).exists() for word in words)


def test_make_targets_of_all_pages_exist():
    """In a fence, or in a sentence as `make target`."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    in_fences = {c.split()[1] for p in PAGES for c in commands(p) if c.startswith("make ")}
    in_sentences = {
        target
        for page in PAGES
        for target in re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8"))
    }

    assert {"setup", "test", "quickstart"} <= in_fences <= targets
    assert {"help"} <= in_sentences <= targets


def test_forks_install_and_test_as_the_readme_says():
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    )
    job = workflow["jobs"]["tests"]
    lines = [step["run"] for step in job["steps"] if "run" in step]

    assert lines[-1] == "make test"
    assert set(lines) <= set(commands(ROOT / "README.md"))

    lowest = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text())[1]
    assert job["strategy"]["matrix"]["python"][0] == lowest


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
