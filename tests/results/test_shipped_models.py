"""The models that are shipped: whole, found by table and row, only read, and as
good as their results say."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil

import pytest
import torch
from kit.repository import ROOT

import vaebench as vb
from vaebench import cli, data
from vaebench.config import catalogue, compose, selection
from vaebench.config.cells import Cell, run_key
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.results import long_frame, shipped, shipped_models
from vaebench.results.current import is_current
from vaebench.results.result_file import readable_measures
from vaebench.results.store import Store, read_note
from vaebench.training import checkpoint, resume
from vaebench.training.build import start_or_load, trio
from vaebench.training.checkpoint import Checkpoint
from vaebench.training.run_state import progress_of, shed_checkpoint

LIMIT = 20 * 2**20
TABLES = catalogue.options("table")
RUNS = shipped_models.runs()


def named(path):
    note = read_note(path)[0]
    return [note["table"], note["row"], note["column"]]


def measured(path):
    """What the row shows: the measures that its cell asks for, by name."""
    note, _ = read_note(path)
    cell = Cell(note["table"], note["row"], note["column"], note["preset"], note["config"])
    measures = readable_measures(json.loads((path / "result.json").read_text()))
    return {m.name: m for m in measures if is_current(cell, m)}


def test_there_are_some_and_they_are_small():
    files = [path for run in RUNS for path in run.iterdir()]
    assert files
    assert sum(path.stat().st_size for path in files) < LIMIT
    assert {path.name for path in files} <= set(shipped_models.KEPT)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_a_shipped_run_is_whole_and_says_what_the_reference_says(run):
    note, seed = read_note(run)
    result = json.loads((run / "result.json").read_text())

    assert run_key(note["config"]) == run.parent.name
    assert result["status"] == "done"

    # A shed checkpoint has no state of the optimiser. It holds the parameters only if the last
    # ones are those that are evaluated.
    last = checkpoint.read(run / "checkpoint.safetensors")
    assert last.meta["update"] == result["updates"]
    assert last.meta["shed"]
    assert not last.opt

    best = run / "best.safetensors"
    assert best.exists() == (not last.params), "the parameters that are evaluated, once"

    if best.exists():
        assert checkpoint.read(best).meta["update"] == result["best_update"]

    # The numbers of the run against those that the reference recorded, by metric and protocol.
    frame = long_frame.read_csv(shipped.folder() / f"{note['table']}-{note['preset']}.csv")
    run_rows = frame[(frame["key"] == run.parent.name) & (frame["seed"] == seed)]
    recorded = {(row.metric, row.signature): row.value for row in run_rows.itertuples()}
    stored = {(name, m.signature): m.value for name, m in measured(run).items()}
    shared = set(stored) & set(recorded)

    assert {"bound", "iw_nll", "kl"} <= {name for name, _ in shared}
    assert {name: stored[name] for name in shared} == pytest.approx(
        {name: recorded[name] for name in shared}, rel=1e-12
    )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_nothing_of_the_machine_is_in_it(run):
    for path in run.glob("*.json"):
        config = json.loads(path.read_text())["config"]
        assert config["run"]["results"] == "results/runs"
        assert config["data"]["mirror"] is None


def test_table_row_and_name_mean_the_model(tmp_path):
    for run in RUNS:
        assert shipped_models.chosen(tmp_path, named(run), TABLES) == [run]
        assert shipped_models.chosen(tmp_path, [f"{run.parent.name}/{run.name}"], TABLES) == [run]


def test_a_name_with_an_equals_sign_is_no_setting():
    words = [
        "dvae_sharp_sharp_main",
        "MNIST 100+100 K=1",
        "DVAE#",
        "eval.points=5",
        "run.results=a b/c",
        "a/x=1/seed-0",
    ]
    names, settings = shipped_models.names_and_settings(words)

    assert names == [words[0], words[1], words[2], words[5]]
    assert settings == [words[3], words[4]]
    assert shipped_models.names_and_settings(["t=1", "MNIST K=2"]) == (["MNIST K=2"], ["t=1"])


def test_an_own_run_comes_first(tmp_path):
    run = RUNS[0]
    shutil.copytree(run, tmp_path / run.parent.name / run.name)
    chosen = shipped_models.chosen(tmp_path, [f"{run.parent.name}/{run.name}"], TABLES)

    assert chosen == [tmp_path / run.parent.name / run.name]


def test_only_models_that_fit_are_named_if_there_are_several(tmp_path):
    with pytest.raises(UserError, match="several shipped models") as caught:
        shipped_models.chosen(tmp_path, ["nvil_mnist"], TABLES)

    allowed = str(caught.value).partition("allowed: ")[2].split("; ")
    assert len(allowed) > 1
    assert all(name.startswith("nvil_mnist ") for name in allowed)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["nvil_recipe", "SBN 2"],
            "no shipped model of that name: allowed: .*; or a name that vaebench ls runs shows",
        ),
        (
            ["nvil_mnist", "SBN 500"],
            "no shipped model of that name: allowed: .*nvil_recipe 'SBN 200-200-200'",
        ),
        (
            ["nvil_variance", "VN"],
            "no shipped model of that name: allowed: .*nvil_recipe 'SBN 200-200-200' literal",
        ),
        (
            ["nvil_recipse", "SBN 200-200-200"],
            "'nvil_recipse' is neither a run nor a table: did you mean 'nvil_recipe'",
        ),
        (["nowhere", "SBN 200"], "no run 'nowhere'"),
        (["elsewhere/nvil_recipe"], "no run 'elsewhere/nvil_recipe'"),
        (["nvil_recipe"], None),
    ],
)
def test_what_means_no_model(words, line, tmp_path):
    if line is None:  # a table with one shipped model
        assert shipped_models.chosen(tmp_path, words, TABLES) == [
            run for run in RUNS if named(run)[0] == words[0]
        ]
        return

    with pytest.raises(UserError, match=line.replace("'", ".")):
        shipped_models.chosen(tmp_path, words, TABLES)


def test_a_word_that_is_nearer_a_run_than_a_table_is_taken_for_the_run(tmp_path):
    (tmp_path / "nvil_recipe_1").mkdir()
    with pytest.raises(UserError, match=r"no run .nvil_recipe_2.*did you mean .nvil_recipe_1"):
        shipped_models.chosen(tmp_path, ["nvil_recipe_2"], TABLES)


def test_a_copy_is_evaluated_and_the_shipped_one_is_not_touched(tmp_path):
    run = RUNS[0]
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}

    copy = shipped_models.own(run, tmp_path)

    assert copy == tmp_path / run.parent.name / run.name
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        p.name: p.read_bytes() for p in run.iterdir()
    }

    # A copy that exists is not made again, and a copy has no copy.
    (copy / "result.json").write_text("{}")
    assert shipped_models.own(run, tmp_path) == copy
    assert (copy / "result.json").read_text() == "{}"
    assert shipped_models.own(copy, tmp_path) == copy
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_measured_again_it_is_what_it_was(run, tmp_path):
    """The bound, with the same noise, on the whole test set; by kernels or without."""
    note, _ = read_note(run)
    status = next(s for s in data.status() if s.name == note["config"]["data"]["name"])
    if not status.prepared and status.missing:
        pytest.skip(f"data {status.name}: not here; vaebench data get {status.name}")

    stored = measured(run)["bound"]

    assert cli.main(["eval", *named(run), "eval.iw_samples=null", f"run.results={tmp_path}"]) == 0

    result = json.loads((tmp_path / run.parent.name / run.name / "result.json").read_text())
    (bound,) = [
        m
        for m in readable_measures(result)
        if m.name == "bound" and m.signature == stored.signature
    ]

    assert math.isclose(bound.value, stored.value, abs_tol=0.01)
    assert "earlier" not in bound.extra


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_the_page_gives_its_numbers(run):
    table, row, _ = named(run)
    stored = measured(run)
    text = (ROOT / "docs" / "results.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f'| `{table} "{row}"` |')]

    assert f"bound {stored['bound'].value:.2f}" in line
    assert f"IW-NLL {stored['iw_nll'].value:.2f} (K = {stored['iw_nll'].samples:,})" in line


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_the_command_on_the_page_asks_for_this_run(run):
    note, seed = read_note(run)
    text = (ROOT / "docs" / "results.md").read_text()
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith(f'| `{note["table"]} "{note["row"]}"` |')
    ]
    (command,) = re.findall(r"`vaebench run (.*)`", line)
    words = shlex.split(command)

    assert words[-2:] == ["--seeds", str(seed)]

    # Compose the cells as the command would; their key is the name of the run's folder.
    only = [words[i + 1] for i, word in enumerate(words) if word == "--only"]
    selected = selection.parse([word for word in words if word.startswith(("table=", "preset="))])
    preset = catalogue.load_preset(selected.preset)
    cells = compose.cells(catalogue.load_table(*selected.tables), preset, selected.overrides, only)

    assert {cell.key for cell in cells} == {run.parent.name}


def test_they_are_listed(capsys):
    assert cli.main(["ls", "shipped"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == len(RUNS)

    for run, line in zip(RUNS, lines, strict=True):
        assert line.startswith(shipped_models.quoted(named(run)[:2]))
        assert f"bound {measured(run)['bound'].value:.2f}" in line


def test_nothing_goes_on_from_a_shipped_run(tmp_path):
    """A longer run of the same cell begins anew, and a session that would
    go on is told in one line."""
    shipped_models.own(RUNS[0], tmp_path)
    note, seed = read_note(RUNS[0])
    longer = {**note["config"], "train": {**note["config"]["train"], "updates": 2 * 10**8}}
    cell = Cell(note["table"], note["row"], note["column"], note["preset"], longer)
    begun = resume.prepare(Store(tmp_path), cell, seed, note["data_hash"])
    parts = trio(longer, DataInfo([0.5] * 784))
    resume.extend(begun, Store(tmp_path), cell, note["data_hash"], parts)

    assert begun.update == 0

    state = progress_of(RUNS[0], seed)
    with pytest.raises(UserError, match="of a run that has ended"):
        start_or_load(state, None, None, note["config"], 1)


def test_a_checkpoint_whose_last_parameters_are_evaluated_keeps_them(tmp_path):
    run = RUNS[0]
    # The checkpoint of a run whose last parameters are those that are evaluated.
    shipped_checkpoint = checkpoint.read(run / "checkpoint.safetensors")
    state = {"model.running": torch.ones(2), "chains": torch.ones(3)}
    unshed = Checkpoint(
        shipped_checkpoint.params, state, {"momentum": torch.ones(4)}, shipped_checkpoint.meta
    )
    checkpoint.write(tmp_path / "checkpoint.safetensors", unshed)

    shed = shed_checkpoint(progress_of(tmp_path, 0), "last")

    assert set(shed.params) == set(shipped_checkpoint.params)
    assert set(shed.state) == {"model.running"}
    assert not shed.opt
    assert shed.meta == shipped_checkpoint.meta == {**shipped_checkpoint.meta, "shed": True}


def test_a_setting_that_is_refused_leaves_no_copy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["eval", *named(RUNS[0]), "eval.iw_samples=-1"]) == 2
    assert capsys.readouterr().err.startswith("vaebench: eval.iw_samples=-1: allowed: ")

    with pytest.raises(UserError, match="iw_samples=-1"):
        vb.load_run(*named(RUNS[0])[:2]).evaluate(iw_samples=-1)
    assert not list(tmp_path.iterdir())
