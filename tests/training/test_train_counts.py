"""Belief nets trained on documents as counts: killed anywhere they go on alike, packs are their
seeds, verbs refuse."""

from __future__ import annotations

import copy

import pytest
import torch

from vaebench import data
from vaebench.cli import main
from vaebench.errors import Interrupted
from vaebench.training import checkpoint
from vaebench.training import loop as train
from vaebench.training.run_state import progress_of

pytestmark = pytest.mark.usefixtures("short_blocks")

CPU = torch.device("cpu")

CONFIG = {
    "data": {"name": "toy_counts", "counts": "raw", "held_out": None, "held_out_seed": 0,
             "mirror": None},
    "model": {"name": "fdarn", "dims": [4], "posterior": "factorial", "init": "normal",
              "init_scale": 0.1},
    "objective": {"name": "wake_sleep"},
    "optim": {"name": "sgd", "rate": 1e-3, "posterior_rate": 1e-3, "baseline_rate": None},
    "train": {"updates": 30, "unit": "updates", "batch": 20, "order": "replacement",
              "valid_every": 10, "valid_samples": 2, "patience": None, "select": "valid_bound"},
}  # fmt: skip


@pytest.fixture
def go(tmp_path):
    splits = data.load(CONFIG["data"])

    def run(folder, seeds=(0,), objective="wake_sleep", engine="plain", stop=lambda: False):
        config = copy.deepcopy(CONFIG)
        config["objective"] = {"name": objective}
        places = [tmp_path / folder / str(seed) for seed in seeds]
        for place in places:
            place.mkdir(exist_ok=True, parents=True)
        states = [progress_of(place, seed) for place, seed in zip(places, seeds, strict=True)]
        return train.train(config, splits, states, CPU, engine, should_stop=stop)

    return run


def parameters(state):
    return checkpoint.read(state.last).params


@pytest.mark.parametrize("objective", ["nvil", "wake_sleep"])
def test_a_killed_run_goes_on_bit_for_bit(go, objective, tmp_path):
    (whole,) = go("whole", objective=objective)
    left = iter([False] + [True] * 1000)
    with pytest.raises(Interrupted):
        go("killed", objective=objective, stop=lambda: next(left))

    stopped = progress_of(tmp_path / "killed" / "0", 0).last
    assert 0 < checkpoint.read(stopped).meta["update"] < 30

    (again,) = go("killed", objective=objective)
    assert whole.update == again.update == 30

    mine = parameters(whole)
    theirs = parameters(again)
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert [p["valid_bound"] for p in whole.curve] == [p["valid_bound"] for p in again.curve]


@pytest.mark.parametrize("objective", ["nvil", "wake_sleep"])
def test_a_pack_is_its_seeds_and_the_packed_engine_the_plain_one(go, objective):
    together = go("pack", (0, 1), objective)
    (alone,) = go("alone", (1,), objective)
    mine = parameters(together[1])
    theirs = parameters(alone)

    assert all(torch.equal(mine[k], theirs[k]) for k in mine)

    packed = go("packed", (0, 1), objective, "packed")
    for one, other in zip(together, packed, strict=True):
        for key, value in parameters(one).items():
            torch.testing.assert_close(parameters(other)[key], value, rtol=1e-4, atol=1e-6)


TABLE = [
    "table=nvil_documents",
    "preset=quick",
    "--seeds",
    "0",
    "--only",
    "row=SBN 50",
    "--only",
    "column=20 News log",
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.feat").write_text("1 1:2 3:1\n" * 200)
    (tmp_path / "test.feat").write_text("1 1:2\n2 3:1 2:4\n")
    (tmp_path / "words.txt").write_text("a 1\nb 1\nc 1\n")
    return {
        k: tmp_path / f
        for k, f in (("train", "train.feat"), ("test", "test.feat"), ("vocabulary", "words.txt"))
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2 3:-1", "test.feat: line 3 has the count '-1', expected a whole number from 1"),
        ("2 3:0.5", "test.feat: line 3 has the count '0.5'"),
        ("2", "test.feat: line 3 is a document without words"),
        ("2 4:1", "test.feat: line 3 has the word '4', but the vocabulary has the words 1 to 3"),
    ],
)
def test_bad_counts_are_one_line_and_nothing_is_written(
    files, tmp_path, monkeypatch, capsys, line, says
):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    with open(files["test"], "a", encoding="utf-8") as f:
        f.write(f"{line}\n")
    own = [f"data.{k}={path}" for k, path in files.items()]

    assert main(["run", *TABLE, "data=word_counts", *own, f"run.results={tmp_path}/runs"]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "data").glob("prepared/*.h5"))


def test_a_run_draws_no_images_of_counts(tmp_path, capsys):
    few = [
        "train.updates=20",
        "train.valid_every=20",
        "eval.iw_samples=5",
        f"run.results={tmp_path}/runs",
    ]

    assert main(["run", *TABLE, *few]) == 0
    assert "perplexity per document" in capsys.readouterr().out

    (folder,) = (tmp_path / "runs").glob("toy_counts-*/seed-0")
    for words in (["sample"], ["reconstruct", "--test", "2"], ["reconstruct"]):
        assert main([words[0], str(folder), *words[1:]]) == 2
        assert "toy_counts has documents as counts" in capsys.readouterr().err
    assert main(["export", str(folder), "--output", str(tmp_path / "model")]) == 0
