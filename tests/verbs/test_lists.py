"""What lists and reports say of a run: its cell and the settings that were changed. Lists fit a
terminal of any width."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest
from kit.commands import call

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.config.compose import cells
from vaebench.report import stored
from vaebench.results.store import Store

FEW = ["train.updates=2", "train.valid_every=2", "run.engine=plain", "eval.points=5"]
ONE = ["table=nvil_mnist", "preset=quick", "--only", "SBN 200", "--only", "column=NVIL"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one run of changed settings. Only for reading."""
    root = tmp_path_factory.mktemp("made")
    assert main(["run", *ONE, "--seeds", "0", "model.dims=[5]", *FEW, f"run.results={root}"]) == 0

    return root


def test_a_run_names_its_cell_and_what_was_changed(made, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)

    code, out, _ = call(capsys, "ls", "runs", f"run.results={made}")

    assert code == 0
    words = (
        "nvil_mnist: SBN 200 / NVIL, preset=quick, model.dims=[5], "
        "train.updates=2, train.valid_every=2"
    )
    assert f"  {words}  flagged: kl dead layer; of 5 cases: bound " in out.splitlines()[1]
    assert "eval.points" not in out  # it changes no training

    # On a narrow terminal lines are broken, and no word is lost.
    monkeypatch.setenv("COLUMNS", "80")
    narrow = call(capsys, "ls", "runs", f"run.results={made}")[1]
    assert max(map(len, narrow.splitlines())) <= 80
    assert words in " ".join(narrow.split())


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_a_report_without_runs_hints_at_those_with_other_settings(made, preset, capsys):
    """The command in the hint shows these runs."""
    code, _, err = call(
        capsys, "report", "table=nvil_mnist", f"preset={preset}", "--brief", f"run.results={made}"
    )
    nothing, hint = err.splitlines()

    assert code == 0
    assert f"no runs of nvil_mnist with preset={preset}" in nothing
    assert (
        "1 run with other settings: model.dims=[5] train.updates=2 "
        "train.valid_every=2; vaebench report"
    ) in hint

    command = shlex.split(hint.partition("; ")[2].removesuffix(" shows it"))
    code, out, err = call(capsys, *command[1:], "--brief")

    assert (code, err) == (0, "")
    assert "SBN 200" in out

    csv = call(capsys, *command[1:], "--format", "csv")[1]
    assert ',quick,"quick, modified",0,done,bound,' in csv.splitlines()[1]


def test_a_report_hints_at_changed_settings_beside_what_it_shows(made, tmp_path, capsys):
    results = f"run.results={shutil.copytree(made, tmp_path / 'runs')}"
    assert call(capsys, "run", *ONE, "--seeds", "0", "model.dims=[4]", *FEW, results)[0] == 0

    _, out, err = call(capsys, "report", *ONE, "model.dims=[4]", *FEW, "--brief", results)

    assert "SBN 200" in out
    assert err.count("\n") == 1
    assert "1 run with other settings: model.dims=[5] " in err


def test_many_other_settings_are_counted():
    others = [stored.Others("quick", (f"optim.rate={i}",), 2) for i in range(5)]

    lines = list(stored.lines("t", others))

    assert len(lines) == stored.MOST + 1
    assert lines[-1] == "4 runs with yet other settings: vaebench ls runs"
    assert lines[0].endswith("vaebench report table=t preset=quick optim.rate=0 shows them")


def test_a_damaged_note_is_passed_over(tmp_path):
    folder = tmp_path / "a-b" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("[1, 2]")

    assert stored.others(Store(tmp_path), "t", set()) == []


def test_only_settings_of_the_training_are_changes():
    table = catalogue.load_table("nvil_mnist")
    quick = catalogue.load_preset("quick")
    entry = ["row=SBN 200", "column=NVIL"]

    (plain,) = cells(table, quick, ["eval.points=5", "run.jobs=1"], entry)
    (changed,) = cells(table, quick, ["eval.points=5", "optim.rate=1e-2", "run.jobs=1"], entry)

    assert (plain.changed, changed.changed) == ((), ("optim.rate=1e-2",))


# ------------------------------------------------------------------------------------- narrow lists


@pytest.mark.parametrize("what", ["tables", "models", "objectives", "presets", "data"])
def test_a_list_fits_the_terminal_and_loses_nothing(what, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = call(capsys, "ls", what)[1]

    monkeypatch.setenv("COLUMNS", "80")
    narrow = call(capsys, "ls", what)[1]

    assert max(map(len, narrow.splitlines())) <= 80
    # Headings of columns may go.
    lost = set(whole.split()) - set(narrow.split()) - {"TITLE", "ABOUT", "FILES"}
    assert lost == set()


# ---------------------------------------------------------------- mirrors, folders for reading only


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_mirror_that_is_not_there_is_named(how, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VAEBENCH_MIRROR", raising=False)
    mirror = [f"data.mirror={gone}"] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("VAEBENCH_MIRROR", str(gone))

    code, out, _ = call(capsys, "doctor", *mirror)
    name = "data.mirror" if how == "option" else "VAEBENCH_MIRROR"

    assert code == 1
    assert (
        f"FAIL  mirror: {gone} is not a folder, so nothing can be fetched; correct or unset {name}"
        in out
    )

    # Verbs that only list and check warn of it.
    for verb in (["ls", "data"], ["data", "ls"], ["data", "verify"]):
        code, _, err = call(capsys, *verb, *mirror)
        assert (code, err) == (0, f"vaebench: warning: the mirror {gone} is not a folder\n")

    gone.mkdir()
    code, out, _ = call(capsys, "doctor", *mirror)
    assert code == 0
    assert f"ok    mirror: {gone}" in out


def test_a_read_only_folder_under_eval_is_one_line(made, monkeypatch, capsys):
    """The lock is the first thing that is written, so that nothing is evaluated in vain."""

    def refuse(*rest):
        raise OSError(30, "Read-only file system", "x")

    folder = next(made.glob("*/seed-0"))
    # A lock is made by a hard link; see ``results/lock.py``.
    monkeypatch.setattr(os, "link", refuse)

    code, out, err = call(capsys, "eval", folder)

    assert (code, out) == (2, "")
    assert err == f"vaebench: {folder}: cannot be written: Read-only file system\n"


@pytest.mark.parametrize(
    "odd", [{}, {"name": "bound"}, {"name": "bound", "unit": "nats", "value": 10**400}, 3]
)
def test_a_measure_that_cannot_be_read_is_left_out(capsys, tmp_path, odd):
    good = {"name": "kl", "unit": "nats", "value": 1.5, "error": None}
    unknown = {"name": "bound", "unit": "nats", "value": None}
    Store(tmp_path).write_result(
        "a-b-0123456789", 0, {"status": "done", "measures": [odd, good, unknown]}
    )

    code, out, _ = call(capsys, "ls", "runs", f"run.results={tmp_path}")

    assert code == 0
    assert out.rstrip().endswith("kl 1.50, bound ?")
