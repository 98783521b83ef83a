"""Every shipped table: its published numbers are the papers', and it runs offline."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from vaebench import cli, config

ROOT = Path(__file__).resolve().parent.parent
TABLES = config.options("table")


def printed(table: config.Table) -> dict[tuple[str, str], float]:
    """(row, variant) -> the number in the paper's CSV."""
    with open(ROOT / "results" / "published" / table.published_csv, newline="", encoding="utf-8") as f:
        return {(r["model"], r["variant"]): float(r["value"]) for r in csv.DictReader(f)}


@pytest.mark.parametrize("name", [n for n in TABLES if config.load_table(n).published_csv])
def test_published_numbers_are_those_of_the_paper(name: str) -> None:
    table = config.load_table(name)
    here = {}
    for row, entry in table.rows.items():
        for column, value in entry.published.items():
            variant = table.columns[column].published or column if column in table.columns else column
            here[row, variant] = value
    assert here == printed(table)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_it_must(name: str) -> None:
    table = config.load_table(name)
    assert table.margin_why
    assert table.ledger
    text = (config.conf_dir() / "table" / f"{name}.yaml").read_text()
    assert text.startswith(f"# vaebench run table={name}\n# cost"), "a table file starts with its command and its cost"


@pytest.mark.parametrize("name", TABLES)
def test_the_evidence_of_a_finding_is_there(name: str) -> None:
    for finding in config.load_table(name).findings:
        files = re.findall(r"[\w\-]+\.(?:csv|png)", finding.evidence)
        assert files, finding.topic
        for file in files:
            found = ROOT / "results" / "reference" / file
            assert found.exists() or (found.parent / f"{name}{file}").exists(), file


@pytest.mark.parametrize("name", TABLES)
def test_a_table_runs_offline(name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    """Every cell, a few updates on the embedded digits: trained, evaluated, shown."""
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    few = ["train.updates=20", "train.valid_every=10", "eval.iw_samples=10", "eval.points=50"]
    where = [f"run.results={tmp_path / 'runs'}", "run.jobs=1", "run.compile=off"]
    assert cli.main(["run", f"table={name}", "preset=quick", "--seeds", "0", *few, *where]) == 0
    shown = capsys.readouterr().out
    table = config.load_table(name)
    for row in table.rows:
        assert row in shown
    results = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/seed-0/result.json")]
    assert len(results) == len(table.trained())
    assert {r["status"] for r in results} == {"done"}
    assert all(r["updates"] == 20 for r in results)


def test_two_tables_that_train_the_same_cell_share_its_run() -> None:
    from vaebench.compose import cells

    def key(table: str, row: str, column: str) -> str:
        made = cells(config.load_table(table), config.load_preset("paper"), (), [f"row={row}", f"column={column}"])
        return made[0].key

    assert key("nvil_mnist", "SBN 500", "NVIL") == key("nvil_autoreg", "SBN 500", "factorial")
    assert key("nvil_mnist", "SBN 200", "NVIL") == key("nvil_variance", "SBN 200", "baseline, IDB, VN")
    assert key("nvil_mnist", "SBN 200", "NVIL") != key("nvil_mnist", "SBN 200", "WS")
