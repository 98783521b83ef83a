"""``vaebench run --dry-run`` tells what is left, reads no data, writes nothing, and
refuses what a run refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from kit.snippets import TWO_CELLS, times

from vaebench import data
from vaebench.cli import main


def refused(capsys, folder, says):
    """One clear line on stderr that has the words, and nothing written."""
    out, err = capsys.readouterr()

    assert out == ""
    assert err.startswith("vaebench: ")
    assert says in err
    assert err.count("\n") == 1
    assert list(folder.iterdir()) == []


def timed(runs, root, seconds, eval_seconds=0.0):
    """Copy finished runs to ``root``, and say of each that it took so many seconds."""
    shutil.copytree(runs, root)

    for path in root.glob("*/seed-*/result.json"):
        result = json.loads(path.read_text())
        took = {"seconds": seconds, "eval_seconds": eval_seconds}
        path.write_text(json.dumps({**result, **took}))

    return root


def test_a_dry_run_writes_nothing_and_tells_what_is_left(tmp_path, capsys):
    assert main(["run", *TWO_CELLS, f"run.results={tmp_path / 'none'}", "--dry-run"]) == 0
    out, err = capsys.readouterr()

    assert not (tmp_path / "none").exists()

    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["nvil_mnist", "preset=quick"]
    assert lines[2] == ["SBN", "200", "NVIL", "0,1", "2", "new", "120", "?"]
    assert lines[3] == ["SBN", "200", "WS", "0,1", "2", "new", "120", "?"]
    assert out.endswith("to do: 4 runs of unknown cost (nothing like them is recorded)\n")

    assert err == ""


@pytest.mark.parametrize(("seconds", "told"), [(1000.0, 0), (2000.0, 1)])
def test_a_run_of_hours_says_so_at_its_start(whole, tmp_path, capsys, seconds, told):
    """Two runs are left, each of which will take as long as the recorded ones: about 33 minutes in
    all, or 67. From an hour on, the command says so."""
    root = timed(whole[0], tmp_path / "runs", seconds)

    def err(*more):
        assert main(["run", *TWO_CELLS, f"run.results={root}", "--seeds", *more]) == 0
        return capsys.readouterr().err

    line = "to do: about 66.7 min of one process for 2 runs; --dry-run says what each row takes"
    assert err("0-2").count(line) == told
    assert "to do:" not in err("0-2")  # all is done


def test_evaluations_of_hours_are_announced_too(whole, tmp_path, capsys):
    root = timed(whole[0], tmp_path / "runs", 1.0, 9e4)

    command = ["run", *TWO_CELLS, f"run.results={root}", "--seeds", "2"]

    assert main([*command, "--no-eval"]) == 0
    assert "to do:" not in capsys.readouterr().err

    assert main(command) == 0
    assert "the evaluation of 2 trained runs (about 50.0 h)" in capsys.readouterr().err


def test_a_dry_run_tells_what_is_done_and_what_the_rest_will_cost(whole, tmp_path, capsys):
    root = timed(whole[0], tmp_path / "runs", 50.0)

    # Of wake-sleep, seed 1 is gone, and seed 2 stopped at update 40 of 120.
    ws = next(root.glob("*wake_sleep*"))
    shutil.rmtree(ws / "seed-1")
    (ws / "seed-2").mkdir()
    (ws / "seed-2" / "checkpoint.safetensors").touch()
    (ws / "seed-2" / "curve.csv").write_text("update,seconds\n40,9\n")

    before = times(root)

    def shown(*more):
        assert main(["run", *TWO_CELLS, f"run.results={root}", "--dry-run", "--seeds", *more]) == 0
        return capsys.readouterr().out

    out = shown("0-2")

    lines = [line.split() for line in out.splitlines()]
    assert lines[2] == ["SBN", "200", "NVIL", "0,1,2", "2", "done,", "1", "new", "120", "50", "s"]
    assert lines[3] == [
        "SBN",
        "200",
        "WS",
        "0,1,2",
        "1",
        "done,",
        "1",
        "new,",
        "1",
        "partial",
        "120",
        "50",
        "s",
    ]
    # 50 s each for a new run of NVIL and of WS, and two thirds of that for the one that stopped.
    assert out.endswith("to do: about 2.2 min of one process for 3 runs\n")

    assert shown("0", "--force").endswith("to do: about 1.7 min of one process for 2 runs\n")
    assert shown("0").endswith("to do: nothing\n")

    to_do = "to do: the evaluation of 2 trained runs (of unknown cost)\n"
    assert shown("0", "eval.iw_samples=11").endswith(to_do)

    assert times(root) == before

    shutil.rmtree(ws)
    assert shown("0-2", "eval.iw_samples=11").endswith(
        "to do: about 50 s of one process for 1 run, and 3 runs of unknown cost (nothing like "
        "them is recorded), and the evaluation of 2 trained runs (of unknown cost)\n"
    )


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("table", "wrong", "says"),
    [
        (
            "dvae_sharp_sharp_main",
            "objective.beta=-1",
            "MNIST 100+100 K=1 / DVAE##: objective.beta=-1",
        ),
        (
            "dvae_sharp_sharp_main",
            "objective.prior_chains=0",
            "objective.prior_chains=0: must be a whole number from 1",
        ),
        (
            "dvae_pp_rbm",
            "model.latents=7",
            "model.latents=7: must be a whole number of bits that groups=2 divides",
        ),
        (
            "dvae_pp_smoothing,dvae_pp_rbm",
            "optim.epsilon=-1",
            "optim.epsilon=-1.0: must be a positive number",
        ),
        ("nvil_mnist", "model.init=zeros", "SBN 200 / NVIL: model.init='zeros'"),
        (
            "dvae_sharp_sharp_main",
            "eval.logz_method=exact",
            "eval.logz_method=exact: 100 units on the smaller side; allowed: 20",
        ),
    ],
)
def test_a_value_that_is_refused_is_one_line_and_nothing_is_written(
    tmp_path, capsys, monkeypatch, more, table, wrong, says
):
    """It is refused before the first cell is trained, a figure is drawn or data are read. A dry run
    refuses it as well."""
    # Loading data would fail, and by another message.
    monkeypatch.setattr(data, "load", None)

    assert main(["run", f"table={table}", wrong, f"run.results={tmp_path}/runs", *more]) == 2
    refused(capsys, tmp_path, says)


PLACES = {
    "run.device=cuda:7": "run.device=cuda:7: this machine has 0 CUDA devices",
    "data.held_out=1497": "or a whole number from 1 to 1496",
    "train.cases=1498": "train.cases=1498: allowed: null, or a whole number from 1 to ",
    "data=toy_text": "data=toy_text has documents, which model=sbn cannot read",
    "train.order=lengths": "train.order=lengths: for documents only",
    "model.dims=[99999,99999]": "SBN 200 / NVIL: a model of ",
}


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("override", PLACES)
def test_a_dry_run_refuses_what_a_run_refuses(tmp_path, capsys, monkeypatch, override, more):
    monkeypatch.setattr(data, "load", None)  # nothing is read for it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert main(["run", *TWO_CELLS, f"run.results={tmp_path}/runs", override, *more]) == 2
    refused(capsys, tmp_path, PLACES[override])


def test_a_dry_run_reads_no_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", None)

    assert main(["run", *TWO_CELLS, f"run.results={tmp_path}/runs", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_data_that_are_not_here_are_named(tmp_path, capsys, monkeypatch):
    """They are fetched if they have an address, else the user must supply them."""
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VAEBENCH_MIRROR", raising=False)
    data_lines = {}

    for table in ("nvil_documents", "lagging_omniglot"):
        arguments = ["preset=short", "--seeds", "0", "--dry-run", f"run.results={tmp_path}/runs"]
        only = ["--only", "column=20 News log"] if table == "nvil_documents" else []
        assert main(["run", f"table={table}", *arguments, *only]) == 0

        lines = capsys.readouterr().out.splitlines()
        (data_lines[table],) = [line for line in lines if line.startswith("data ")]

    assert data_lines["nvil_documents"].startswith(
        "data news20: not on this machine, so fetched first: "
    )
    assert data_lines["lagging_omniglot"] == (
        "data omniglot_reconstructed: not on this machine, and to be supplied: name their folder "
        "in data.mirror or VAEBENCH_MIRROR: chardata_reconstructed.mat"
    )
