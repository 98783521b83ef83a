"""The README tells the truth: its commands are understood, its table is made from the reference
CSVs. Its links and targets are tested with those of all pages."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
from kit.repository import REFERENCE, ROOT, load_script

from vaebench import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```\n(.*?)```", README, re.S))
LINES = [line.partition("#")[0].strip().removeprefix(".venv/bin/") for line in BLOCKS.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("vaebench ")]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    module = importlib.import_module(f"vaebench.verbs.{words[0]}")
    cli._configured(cli.Parser(prog="vaebench"), module).parse_intermixed_args(words[1:])


@pytest.mark.parametrize("command", [c for c in COMMANDS if " run " in c])
def test_a_run_command_composes(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [w for w in shlex.split(command)[1:] if w != "--dry-run"]
    assert cli.main([*words, "--dry-run", f"run.results={tmp_path}"]) == 0


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.split()[1] in ("ls", "show", "report", "compare")]
)
def test_a_command_that_only_reads_works(command: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """In a folder with this project's results and a file of one's own. Commands that would write a
    plot or a report of one's own runs say that there are none, and write nothing."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reference").symlink_to(REFERENCE)
    (tmp_path / "mine.csv").write_bytes((REFERENCE / "nvil_mnist-short.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    without_runs = "--plot" in command or "--output" in command

    assert cli.main(shlex.split(command)[1:]) == (2 if without_runs else 0)
    assert ("nothing was written" in capsys.readouterr().err) == without_runs


def test_every_table_is_named() -> None:
    from vaebench.config import catalogue

    assert not [name for name in catalogue.options("table") if f"`{name}`" not in README]


@pytest.fixture(scope="module")
def script():
    return load_script("update_readme")


def test_the_table_is_rendered_from_the_reference_results(script) -> None:
    part = f"<!-- table: begin -->\n{script.rendered()}<!-- table: end -->"
    assert part in README
    assert 0 < sum(line.startswith("| ") for line in part.splitlines()) - 2 <= script.MOST
    assert f"](docs/{script.PAGE.name})" in part


def test_the_page_behind_the_table_is_rendered_from_all_of_them(script) -> None:
    text = script.PAGE.read_text(encoding="utf-8")
    assert text == script.page()
    assert all(f"`results/reference/{path.name}`" in text for path in script.sources())


def test_the_progress_is_counted_from_the_reference_results(script) -> None:
    parts = script.progress.of_shipped()
    sentence = script.progress_sentence(parts)

    assert f"<!-- progress: begin -->\n{sentence}<!-- progress: end -->" in README
    assert script.PROGRESS.read_text(encoding="utf-8") == script.progress_page(parts)


def test_a_part_of_a_page_is_replaced_and_nothing_beside_it(script) -> None:
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\n<!-- y: end -->"
    replaced = script.within(text, "x", "new \\1\n")

    assert replaced == text.replace("old\n", "new \\1\n")


def test_the_best_evidence_is_chosen_and_not_the_best_number(script) -> None:
    """More seeds go first, then more updates, then the paper's recipe, whatever the results are.
    There are eight entries at most."""
    table = script.load_table(script.TABLE)
    frame = script.recorded.read(script.sources())
    row_bounds = frame[(frame["row"] == "SBN 200") & (frame["metric"] == "bound")]
    template = row_bounds[(row_bounds["column"] == "NVIL")].iloc[:1]
    # Two presets of one entry: the long one by more updates, the short one with the better number.
    long = template.assign(preset="long", key="a", label="long", updates=4000)
    short = template.assign(preset="short", key="b", label="short", updates=1000, value=1.0)

    def chosen(*parts):
        best_evidence = script.evidenced(table, script.pd.concat(parts, ignore_index=True))
        return [
            (r, c, p)
            for r, c, p in zip(
                best_evidence["row"], best_evidence["column"], best_evidence["preset"], strict=True
            )
        ]

    assert chosen(short, long) == [("SBN 200", "NVIL", "long")]
    assert {p for *_, p in chosen(short, long, short.assign(seed=1))} == {"short"}
    assert {p for *_, p in chosen(short, long, short.assign(seed=1, status="failed"))} == {"long"}

    # With the same seeds and updates the paper's recipe wins, though its number is absurd.
    alike = (
        short.assign(preset="tuned", label="tuned"),
        short.assign(preset="paper", label="", key="c", value=9e9),
    )
    assert {p for *_, p in chosen(*alike)} == {"paper"}

    evidence = script.evidenced(table, frame)
    assert len(set(zip(evidence["row"], evidence["column"], strict=True))) == script.MOST
