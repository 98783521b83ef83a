"""docs/results.md lists what runs write. Its keys, columns, statuses and flags are compared with
the code and with real runs."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from kit.repository import REFERENCE, ROOT

from vaebench.cli import main
from vaebench.protocol.registry import METRICS
from vaebench.results import flags, long_frame, means_file, result_file, run_files
from vaebench.results.stats import ERROR_KINDS, Measure
from vaebench.results.status import Status

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def first_column(head: str) -> list[str]:
    """The names in the first column of the table with this head; a cell may hold several."""
    lines = iter(PAGE.splitlines())
    next(line for line in lines if line.startswith(f"| {head} |"))
    next(lines)
    names = []
    for line in lines:
        if not line.startswith("| "):
            break
        cell = line.split(" | ")[0].strip("| ")
        names += re.findall(r"`([^`]+)`", cell) or [cell]

    return names


def under(heading: str, head: str) -> list[str]:
    """The names in the first column of the table with this head below a heading. Several tables of
    the page may have the same head."""
    part = PAGE.split(f"\n{heading}\n", 1)[1]
    lines = part.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    rows = lines[start + 2 :]
    end = next((i for i, line in enumerate(rows) if not line.startswith("| ")), len(rows))
    return [name for row in rows[:end] for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Folders of three tiny runs: NVIL and noisy weights on images, aggressive training on
    documents."""
    folder = tmp_path_factory.mktemp("runs")
    few = [
        "train.updates=2",
        "train.valid_every=1",
        "run.engine=plain",
        f"run.results={folder}",
        "preset=quick",
    ]
    nvil = [
        "table=nvil_mnist",
        "--only",
        "row=SBN 200",
        "--only",
        "column=NVIL",
        "model.dims=[3]",
        "eval.iw_samples=2",
    ]
    text = [
        "table=lagging_synthetic",
        "--only",
        "row=aggressive, usual start, dropout 0.5",
        "--only",
        "column=IW",
    ]
    noisy = [*nvil, "objective=mdl", "objective.weight_noise=0.1", "optim=adam", "optim.rate=1e-3"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEBENCH_DATA", str(tmp_path_factory.mktemp("data")))
        for words in (nvil, noisy, text):
            assert main(["run", *words, "--seeds", "0", *few]) == 0

    return sorted(folder.glob("*/seed-0"))


def test_the_files_of_a_run():
    names = {v for k, v in vars(run_files).items() if k.isupper() and k != "MADE"}
    assert set(first_column("file")) == names


def test_all_that_a_run_writes_is_thrown_away_with_it():
    kept = {run_files.NOTE, run_files.SNAPSHOTS}
    assert {*first_column("file")} == {*run_files.MADE} | kept


def test_what_a_run_leaves_is_listed(runs):
    for folder in runs:
        assert {p.name for p in folder.iterdir()} <= {*first_column("file"), ".lock"}


def test_the_keys_of_a_result(runs):
    listed = under("## result.json", "key")
    for folder in runs:
        result = json.loads((folder / run_files.RESULT).read_text())
        assert list(result) == listed
    assert set(result_file.FIELDS) <= set(listed)


def test_the_keys_of_a_measure():
    assert under("### Measures", "key") == [f.name for f in fields(Measure)]
    assert all(f"`{kind}`" in PAGE for kind in ERROR_KINDS)


def test_every_measure_is_named():
    assert first_column("measure") == list(METRICS), (
        "docs/results.md has a line for each measure, in this order"
    )


def extras() -> set[str]:
    """Keys of ``extra`` in all recorded results."""
    keys = set()
    for path in REFERENCE.glob("*.csv"):
        with path.open(encoding="utf-8") as f:
            for line in csv.DictReader(f):
                keys |= set(json.loads(line.get("extra") or "{}"))

    return keys


def test_the_keys_of_extra(runs):
    listed = set(first_column("key of `extra`"))
    in_results = extras()
    for folder in runs:
        for measure in json.loads((folder / run_files.RESULT).read_text())["measures"]:
            in_results |= set(measure["extra"])

    assert in_results <= listed

    # The other way round: the code writes every key that the page lists.
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "vaebench").rglob("*.py"))
    unknown = [key for key in listed if not re.search(rf"[\"']{key}[\"']|\b{key}=", code)]

    assert unknown == []


def test_the_columns_of_a_csv():
    assert first_column("column") == list(long_frame.COLUMNS)


def test_the_columns_of_a_curve(runs):
    written = set()
    for folder in runs:
        with (folder / run_files.CURVE).open() as f:
            written |= set(csv.DictReader(f).fieldnames)

    assert set(under("## curve.csv", "column")) == written


def test_the_columns_of_means():
    assert under("## means.csv", "column") == list(means_file.Point._fields)


def test_the_kinds_of_flags():
    """Every kind of flag in the module ``flags`` has a line, and the page has its thresholds."""
    # Kinds are the module's constants that are texts, but for three that are used otherwise.
    constants = {k: v for k, v in vars(flags).items() if k.isupper() and isinstance(v, str)}
    kinds = {v for k, v in constants.items() if k not in ("DENSITY", "UNKNOWN", "OUTSIDE")}

    assert set(first_column("flag")) == kinds
    assert f"more than {100 * flags.MOST_UNKNOWN:.0f} % of the words" in PAGE
    assert f"less than {flags.LEAST_KL:g} nat" in PAGE
    assert f"more than {flags.SURPRISE:g} nats" in PAGE


def test_the_statuses():
    assert first_column("status") == [status.value for status in Status]
