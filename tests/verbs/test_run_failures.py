"""``vaebench run`` where a run diverges or fails, or nothing can be written: one line each, and the
rest completes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from kit.snippets import BROKEN, FULL, TWO_CELLS

from vaebench.cli import main
from vaebench.running import execute


def test_an_absurd_rate_is_reported_again_without_training_until_forced(
    vaebench, results, tmp_path, log
):
    args = [
        *TWO_CELLS,
        results,
        "--only",
        "column=NVIL",
        "optim.rate=1e38",
        "optim.posterior_rate=1e18",
    ]

    code, out, err = vaebench("run", *args, code=log[0]).wait()
    assert code == 1

    complaints = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert len(complaints) == 2
    for seed, line in enumerate(complaints):
        head = f"vaebench: nvil_mnist: SBN 200 / NVIL seed {seed} diverged: "
        assert line.startswith(head)
        assert "is not finite at update 40; there is no checkpoint yet" in line

    assert "diverged" in out
    stored = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/seed-*/result.json")]
    assert [result["status"] for result in stored] == ["diverged", "diverged"]

    assert len(log[1]()) == 2

    code, _, err = vaebench("run", *args, code=log[0]).wait()
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("vaebench: ")] == complaints
    assert len(log[1]()) == 2, "not trained again"

    # Forced, both begin at update 0 once more.
    code, _, _ = vaebench("run", *args, "--force", code=log[0]).wait()
    assert code == 1
    assert [line.split()[3] for line in log[1]()] == ["0"] * 4


def test_a_cell_that_fails_is_told_at_the_end_and_the_others_complete(
    vaebench, results, expected, states_of, tmp_path
):
    code, out, err = vaebench("run", *TWO_CELLS, results, code=BROKEN).wait()
    assert code == 1

    reason = "RuntimeError: a cell is broken"

    assert [line for line in err.splitlines() if "broken" in line] == [
        f"[1/2] nvil_mnist: SBN 200 / NVIL: failed (seeds 0,1): {reason}",
        *(f"vaebench: nvil_mnist: SBN 200 / NVIL seed {seed} failed: {reason}" for seed in (0, 1)),
    ]
    assert "[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1)" in err
    assert "Traceback" not in err
    assert "failed" in out

    code, _, err = vaebench("run", *TWO_CELLS, results).wait()
    assert code == 0
    assert err.startswith("1 of 2 cells are finished already\n")
    assert states_of(tmp_path / "runs") == expected


def test_fail_fast_begins_nothing_new(vaebench, results, tmp_path):
    code, _, err = vaebench("run", *TWO_CELLS, results, "--fail-fast", code=BROKEN).wait()

    assert code == 1
    assert "WS: done" not in err
    assert "2 runs were not begun after the failure (--fail-fast)" in err

    # These are of the cell that failed; the other one has no folder.
    assert len(list((tmp_path / "runs").glob("*/seed-*"))) == 2


def test_a_full_disk_is_one_line_and_a_rerun_completes(
    vaebench, results, expected, states_of, tmp_path
):
    code, _, err = vaebench("run", *TWO_CELLS, results, code=FULL).wait()
    assert code == 1
    assert "Traceback" not in err

    complaints = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert len(complaints) == 4
    assert all("failed: No space left on device" in line for line in complaints)

    # A file that cannot be written whole is not there at all.
    assert [
        path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.name != ".lock"
    ] == []

    code, _, err = vaebench("run", *TWO_CELLS, results).wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


@pytest.mark.parametrize(
    ("below", "why"),
    [
        ("", "not a folder"),
        ("/deeper/still", "{taken} is not a folder"),
        ("/x", "{taken} is not a folder"),
    ],
)
def test_a_file_in_the_place_of_the_results_folder_is_one_line(tmp_path, capsys, below, why):
    (tmp_path / "taken").write_text("a file")
    results_folder = f"{tmp_path / 'taken'}{below}"

    assert main(["run", *TWO_CELLS, f"run.results={results_folder}"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == f"vaebench: run.results={results_folder}: {why.format(taken=tmp_path / 'taken')}\n"
    )
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_results_folder_for_reading_alone_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(execute.os, "access", lambda place, *_, **__: Path(place) != tmp_path)

    assert main(["run", *TWO_CELLS, f"run.results={tmp_path}"]) == 2
    assert capsys.readouterr() == (
        "",
        f"vaebench: run.results={tmp_path}: nothing can be written there\n",
    )

    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_one_line_until_forced(
    vaebench, whole, expected, states_of, tmp_path
):
    shutil.copytree(whole[0], tmp_path / "runs")
    folder = next((tmp_path / "runs").glob("*nvil*")) / "seed-0"
    (folder / "result.json").unlink()
    (folder / "checkpoint.safetensors").write_bytes(b"\x80\x04")

    args = [*TWO_CELLS, f"run.results={tmp_path / 'runs'}"]

    code, _, err = vaebench("run", *args).wait()
    assert code == 1

    (line,) = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert f"seed 0 failed: {folder / 'checkpoint.safetensors'}: not a usable checkpoint" in line
    assert line.endswith("vaebench run --force starts anew")
    assert (folder / "checkpoint.safetensors").read_bytes() == b"\x80\x04"

    code, _, err = vaebench("run", *args, "--only", "column=NVIL", "--seeds", "0", "--force").wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


def test_a_run_that_diverges_as_the_papers_did_is_no_failure(tmp_path, capsys):
    """A run that diverges is a failure if the paper's did not."""
    steep = [
        "optim.posterior_rate=1e12",
        "optim.clip=null",
        "run.jobs=1",
        f"run.results={tmp_path}",
        "--seeds",
        "0",
    ]

    # In the table, the entry of 50x diverges in print; that of 4x does not.
    for row, code in (("50x", 0), ("4x", 1)):
        assert (
            main(["run", "table=lagging_rates", "preset=quick", "--only", f"row={row}", *steep])
            == code
        )

        streams = capsys.readouterr()
        assert "diverged" in streams.out
        assert ("vaebench: lagging_rates" in streams.err) == bool(code)
