"""Runs under earlier names: they are reported, not trained anew, and renamed without a loss
whatever happens on the way."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace

import pytest
from kit.repository import load_script

from vaebench.cli import main
from vaebench.config import catalogue, completions
from vaebench.config.cells import VERSION, canonical, versions
from vaebench.config.compose import cells
from vaebench.errors import UserError
from vaebench.results import rekey
from vaebench.results.earlier_runs import (
    found_outdated,
    noticed,
    of_earlier_version,
    refuse_outdated,
)
from vaebench.results.rekey import outdated
from vaebench.results.store import Store
from vaebench.settings.renamed import RENAMED, unknown, with_present_names

OLD = "mnist_static-sbn200-older-0123456789"


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """A cell whose learning rule was called 'older' before."""
    monkeypatch.setitem(RENAMED["objective"], "older", "nvil")
    table = catalogue.load_table("nvil_mnist")
    where = [f"run.results={tmp_path / 'runs'}"]
    return cells(table, catalogue.load_preset("paper"), where, ["SBN 200", "column=NVIL"])[0]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def put(store, cell, seed=0, key=OLD, name="older"):
    """A finished run in a folder of an earlier name."""
    config = {**cell.config, "objective": {**cell.config["objective"], "name": name}}
    folder = store.run_dir(key, seed)
    folder.mkdir(parents=True)
    note = {"config": config, "data_hash": "ab", "row": cell.row, "column": cell.column}
    (folder / "config.json").write_text(json.dumps(note))
    (folder / "result.json").write_text(
        json.dumps({"status": "done", "key": key, "config": config, "measures": []})
    )
    (folder / "checkpoint.safetensors").write_bytes(bytes(range(99)))
    (folder / "curve.csv").write_text("update\n5\n")
    return folder


def files(root):
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def test_a_run_under_an_earlier_name_is_not_trained_anew(cell, store, capsys):
    put(store, cell)
    before = files(store.root)

    for more in ([], ["--dry-run"]):
        code = main(
            [
                "run",
                "table=nvil_mnist",
                "--only",
                "SBN 200",
                "--seeds",
                "0",
                f"run.results={store.root}",
                *more,
            ]
        )
        line = capsys.readouterr().err

        assert (code, line.count("\n")) == (2, 1)
        assert str(store.run_dir(OLD, 0)) in line
        assert f"vaebench rekey run.results={store.root}" in line

    assert files(store.root) == before


def test_only_runs_that_are_asked_for_are_in_the_way(cell, store):
    put(store, cell, seed=3)
    refuse_outdated(store, [(cell, [0, 1])])

    with pytest.raises(UserError, match="holds a run of these"):
        refuse_outdated(store, [(cell, [1, 3])])
    with pytest.raises(UserError, match="holds a run of these"):
        noticed(store, [(cell, [3])])
    assert noticed(store, [(cell, [0])]) == []

    put(store, cell, seed=4)
    assert "holds 2 runs of these" in found_outdated(store, {cell.key: None})
    assert found_outdated(store, {"other": None}) == ""


def test_a_report_says_so(cell, store, capsys):
    put(store, cell)
    assert main(["report", "table=nvil_mnist", f"run.results={store.root}"]) == 0
    assert f"vaebench rekey run.results={store.root}" in capsys.readouterr().err


def test_runs_of_an_earlier_version_are_told_and_not_in_the_way(cell, store):
    # The options of this cell have version 7; the run is of the first one.
    settings = {**cell.config["objective"], VERSION: 7}
    present = replace(cell, config={**cell.config, "objective": settings})
    first_version = replace(cell, config=versions(present.config)[0])
    folder = put(store, first_version, key=first_version.key, name="nvil")
    before = files(store.root)
    refuse_outdated(store, [(present, [0])])
    line = of_earlier_version(store, [present, present])

    assert line.startswith("a cell has runs of an earlier version")
    assert noticed(store, [(present, [0]), (present, [1])]) == [line]
    assert list(outdated(store)) == []

    # Once the present version has a run too, nothing is said.
    store.run_dir(present.key, 1).mkdir(parents=True)
    assert of_earlier_version(store, [present]) == ""
    assert files(store.root) == before
    assert folder.is_dir()


@pytest.mark.parametrize("group", RENAMED)
def test_an_earlier_name_is_not_offered(group):
    present_options = catalogue.options(group)
    offered = completions.overrides(f"{group}=")
    for earlier, present in RENAMED[group].items():
        assert (earlier in present_options) != (present in present_options), (
            "one of the two is shipped"
        )
        assert (f"{group}={earlier}" in offered) == (earlier in present_options)


def test_runs_get_their_present_names(cell, store, capsys):
    for seed in (0, 2):
        put(store, cell, seed)

    before = files(store.root)
    assert main(["rekey", f"run.results={store.root}", "--dry-run"]) == 0
    assert files(store.root) == before
    assert "2 runs would be renamed" in capsys.readouterr().out

    assert main(["rekey", f"run.results={store.root}"]) == 0
    out = capsys.readouterr().out
    assert f"{OLD}/seed-0 -> {cell.key}/seed-0" in out
    assert "2 runs renamed" in out
    assert not (store.root / OLD).exists()

    for seed in (0, 2):
        folder = store.run_dir(cell.key, seed)
        assert store.read_result(cell.key, seed)["key"] == cell.key

        for name in ("config.json", "result.json"):
            config = json.loads((folder / name).read_text())["config"]
            assert canonical(config) == canonical(cell.config)

        assert (folder / "checkpoint.safetensors").read_bytes() == bytes(range(99))

    # A second call finds nothing to do.
    after = files(store.root)
    assert main(["rekey", f"run.results={store.root}"]) == 0
    assert "0 runs renamed" in capsys.readouterr().out
    assert files(store.root) == after

    refuse_outdated(store, [(cell, [0, 2])])


@pytest.mark.parametrize("step", range(4))
def test_a_kill_at_any_point_loses_nothing(cell, store, monkeypatch, step):
    """Before and after each file is rewritten, and before the folder is moved."""
    put(store, cell)

    class Kill(BaseException):
        pass

    # Three calls are counted: two files rewritten, one folder moved. The kill is before call
    # ``step``; at step 3 there is none.
    calls = iter(range(9))

    def mortal(real):
        def call(*args):
            if next(calls) == step:
                raise Kill
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(rekey, "write_atomic", mortal(rekey.write_atomic))
        patch.setattr(os, "rename", mortal(os.rename))

        try:
            for run in list(outdated(store)):
                rekey.rekey(store, run)
        except Kill:
            assert step < 3
        else:
            assert step == 3

    # The same call completes what the killed one left.
    assert [rekey.rekey(store, run) for run in list(outdated(store))] == ([""] if step < 3 else [])
    assert sorted(files(store.root)) == [
        f"{cell.key}/seed-0/{name}"
        for name in ("checkpoint.safetensors", "config.json", "curve.csv", "result.json")
    ]
    assert list(outdated(store)) == []


def test_a_run_that_is_there_already_is_not_touched(cell, store, capsys):
    put(store, cell)
    put(store, cell, key=cell.key, name="nvil")
    before = files(store.root)

    assert main(["rekey", f"run.results={store.root}"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert files(store.root) == before


def test_an_empty_folder_is_not_in_the_way(cell, store):
    put(store, cell)
    # The lock makes the folder under the present name, and leaves it empty.
    with store.lock(cell.key, 0):
        assert [rekey.rekey(store, f) for f in outdated(store)] == ["another process works on it"]

    assert [rekey.rekey(store, f) for f in list(outdated(store))] == [""]
    assert store.read_result(cell.key, 0)["status"] == "done"


def test_a_run_in_use_is_left(cell, store):
    put(store, cell)
    with store.lock(OLD, 0):
        assert [rekey.rekey(store, f) for f in list(outdated(store))] == [
            "another process works on it"
        ]

    assert store.run_dir(OLD, 0).exists()


def test_copies_and_damaged_folders_are_left_alone(cell, store):
    # Neither of these names is a key.
    put(store, cell, key=f"{OLD}-copy")
    put(store, cell, key="mine")

    for content in (b"{", b"[]", b'{"config": {}}', b'{"config": {"data": 3}}', b"\xff"):
        for name in ("config.json", "result.json"):
            folder = store.run_dir(OLD, 0)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        assert list(outdated(store)) == []


def test_a_run_known_by_its_result_alone_is_found(cell, store):
    (put(store, cell) / "config.json").unlink()
    assert [(f.seed, f.key) for f in outdated(store)] == [(0, cell.key)]


def test_an_earlier_name_is_refused_with_the_present_one(cell, monkeypatch, capsys):
    monkeypatch.setitem(RENAMED["table"], "older_table", "nvil_mnist")
    assert (
        unknown("table", "older_table", ["nvil_mnist"])
        == "table 'older_table' is called 'nvil_mnist' now"
    )

    for verb in ("run", "report", "show"):
        assert main([verb, "table=older_table"]) == 2
        assert (
            capsys.readouterr().err == "vaebench: table 'older_table' is called 'nvil_mnist' now\n"
        )

    assert main(["run", "table=nvil_mnist", "objective=older", "--dry-run"]) == 2
    assert capsys.readouterr().err == "vaebench: objective 'older' is called 'nvil' now\n"
    assert unknown("table", "older_table", ["other"]).startswith("unknown table 'older_table': ")


def test_present_names_are_those_that_are_shipped(cell):
    old = {**cell.config, "objective": {**cell.config["objective"], "name": "older"}}
    assert with_present_names(old, {"objective": ["nvil"]}) == cell.config
    assert with_present_names(old, {"objective": ["older"]}) == old
    assert with_present_names({"objective": None}, {"objective": ["nvil"]}) == {"objective": None}


# --------------------------------------------------------------------------------- recorded results


@pytest.fixture(scope="module")
def script():
    return load_script("rekey_reference")


@pytest.fixture(scope="module")
def known(script):
    return script.known_keys([])


def test_recorded_runs_have_present_keys(script, known):
    keys = set()
    for path in sorted(script.REFERENCE.glob("*.csv")):
        with path.open(newline="") as f:
            keys |= {
                (path.name, record["key"]) for record in csv.DictReader(f) if record.get("key")
            }

    assert len(keys) > 100

    stale = [(name, key) for name, key in keys if known.get(key.rpartition("-")[2]) != key]
    assert not stale, f"run python scripts/rekey_reference.py: {stale[:5]}"


@pytest.mark.parametrize(
    ("digest", "model", "objective"),
    [
        ("48cf3e84c2", "sbn200", "nvil"),
        ("d010d8a047", "rbm_posterior", "dvae"),
        ("cfae7b7d7a", "text_vae", "aggressive"),
    ],
)
def test_keys_of_the_first_rule_are_known(known, digest, model, objective):
    """Keys that once stood in results/reference: of a plain option, a renamed one, documents."""
    _, model_name, rule, present_digest = known[digest].split("-")
    assert (model_name, rule.startswith(objective)) == (model, True)
    assert present_digest != digest


def test_a_csv_gets_present_keys_and_nothing_else(script, known, tmp_path):
    path = tmp_path / "some.csv"
    text = (
        "row,key,extra\n"
        'a,mnist_static-sbn200-nvil-48cf3e84c2,"{""x"": 1}"\n'
        '"b, c",other-0123456789,\n'
    )
    path.write_text(text)

    assert script.rekey(path, known) == (1, {"other-0123456789"})
    assert path.read_text() == text.replace(
        "mnist_static-sbn200-nvil-48cf3e84c2", known["48cf3e84c2"]
    )
    assert script.rekey(path, known) == (0, {"other-0123456789"})
