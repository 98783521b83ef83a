"""``vaebench ls``: tables, options, data and runs, at once."""

from __future__ import annotations

import re

import pytest
from kit.commands import call, python
from kit.runs import store_run

from vaebench.config import catalogue
from vaebench.config.compose import cells


def test_ls_tables(conf, capsys):
    code, out, _ = call(capsys, "ls")
    row = next(row for row in out.splitlines() if row.startswith("small"))

    assert code == 0
    assert row.split() == ["small", "Table", "1", "5", "someone2014", "A", "small", "table"]
    assert call(capsys, "ls", "tables")[1] == out


def test_ls_options_with_their_first_comment(conf, capsys):
    (conf / "model" / "bare.yaml").write_text("name: bare\n")

    out = call(capsys, "ls", "models")[1]

    assert re.search(r"^sbn +Sigmoid belief net", out, re.M)
    assert "\nbare\n" in out
    assert re.search(r"^wake_sleep +Wake-sleep", call(capsys, "ls", "objectives")[1], re.M)
    assert re.search(r"^tuned +tuned", call(capsys, "ls", "presets")[1], re.M)


def test_ls_data(conf, capsys):
    for arguments in (["ls", "data"], ["data", "ls"]):
        code, out, _ = call(capsys, *arguments)
        assert code == 0

        lines = [line.split() for line in out.splitlines()]
        assert ["digits", "ready"] in [line[:2] for line in lines]
        assert ["mnist_static", "missing", "3", "of", "3"] in [line[:5] for line in lines]


def test_ls_runs(runs, capsys):
    code, out, _ = call(capsys, "ls", "runs", f"run.results={runs}")
    lines = out.splitlines()

    assert (code, len(lines)) == (0, 4)
    assert lines[1].split()[1:] == ["0", "done", "2,000", "-", "bound", "113.20(0.10)"]

    assert call(capsys, "ls", f"run.results={runs}")[0] == 0  # "tables" may be left out
    assert call(capsys, "ls", "runs", f"run.results={runs}/none")[1] == (
        f"no runs: there is no folder {runs}/none yet\n"
    )


# The content of ``curve.csv`` of a run in training, and the update that ``ls runs`` shows.
CURVES = {
    "update,seconds\n1000,2.0\n2500,5.0\n": "2,500",
    "update,seconds\n1000,2.0\n2500,5": "1,000",  # it was cut short
    "update,seconds\n1000,2.0\n25\n": "1,000",
    "update,seconds\n1000,2.0\n500,3.0\n": "1,000",  # it does not rise
    "update,seconds\n1000,2.0\n\xff\n": "1,000",
    "update,seconds\n-5,2.0\n": "-",
    "update,seconds\n": "-",
    "": "-",
}


@pytest.mark.parametrize(("curve", "told"), CURVES.items())
def test_ls_runs_tells_how_far_a_run_in_training_is(runs, capsys, curve, told):
    """It is told by the last validation of the curve, without reading the checkpoint. Damaged lines
    do not count."""
    folder = runs / "other-sbn9" / "seed-4"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "checkpoint.safetensors").touch()
    (folder / "curve.csv").write_text(curve, encoding="latin-1")

    lines = call(capsys, "ls", "runs", f"run.results={runs}")[1].splitlines()
    (line,) = [line for line in lines if line.startswith("other-sbn9")]

    assert line.split()[1:4] == ["4", "partial", told]


def test_ls_runs_shows_flags_first(runs, capsys):
    (cell,) = cells(
        catalogue.load_table("small"),
        catalogue.load_preset("paper"),
        only=["SBN 200", "column=NVIL"],
    )
    store_run(runs, cell, 7, -626.3)

    _, out, _ = call(capsys, "ls", "runs", f"run.results={runs}")

    lines = out.splitlines()
    assert sum("flagged" in line for line in lines) == 1
    assert "flagged: bound impossible; bound -626.30(0.10)" in out


@pytest.mark.parametrize(
    "what", ["tables", "models", "objectives", "presets", "data", "runs", "shipped"]
)
def test_ls_imports_nothing_heavy(what, runs):
    arguments = ["ls", what, *([f"run.results={runs}"] if what == "runs" else [])]
    heavy = {
        "torch",
        "hydra",
        "omegaconf",
        "pandas",
        "h5py",
        "scipy",
        "sklearn",
        "matplotlib",
        "argcomplete",
    }

    done = python(f"main({arguments!r}); print({heavy!r} & set(sys.modules), file=sys.stderr)")

    assert done.stdout
    assert done.stderr == "set()\n"
