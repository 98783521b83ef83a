"""Belief nets trained on documents as counts.

Stopped runs go on bit for bit, packs are their seeds, and verbs for images refuse.
"""

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
    """Function that trains seeds in a folder from where they stand; it returns their states."""
    splits = data.load(CONFIG["data"])

    def run(folder, seeds=(0,), objective="wake_sleep", engine="plain", stop=lambda: False):
        config = copy.deepcopy(CONFIG)
        config["objective"] = {"name": objective}
        folders = [tmp_path / folder / str(seed) for seed in seeds]
        for folder_of_seed in folders:
            folder_of_seed.mkdir(exist_ok=True, parents=True)

        states = [
            progress_of(folder_of_seed, seed)
            for folder_of_seed, seed in zip(folders, seeds, strict=True)
        ]

        return train.train(config, splits, states, CPU, engine, should_stop=stop)

    return run


def parameters(state):
    return checkpoint.read(state.last).params


@pytest.mark.parametrize("objective", ["nvil", "wake_sleep"])
def test_a_killed_run_goes_on_bit_for_bit(go, objective, tmp_path):
    (whole,) = go("whole", objective=objective)
    answers = iter([False] + [True] * 1000)
    with pytest.raises(Interrupted):
        go("killed", objective=objective, stop=lambda: next(answers))

    stopped_checkpoint = progress_of(tmp_path / "killed" / "0", 0).last
    assert 0 < checkpoint.read(stopped_checkpoint).meta["update"] < 30

    (continued,) = go("killed", objective=objective)
    assert whole.update == continued.update == 30

    params = parameters(whole)
    other_params = parameters(continued)
    assert all(torch.equal(params[k], other_params[k]) for k in params)
    assert [p["valid_bound"] for p in whole.curve] == [p["valid_bound"] for p in continued.curve]


@pytest.mark.parametrize("objective", ["nvil", "wake_sleep"])
def test_a_pack_is_its_seeds_and_the_packed_engine_the_plain_one(go, objective):
    together = go("pack", (0, 1), objective)
    (alone,) = go("alone", (1,), objective)
    params_in_pack = parameters(together[1])
    params_alone = parameters(alone)

    assert all(torch.equal(params_in_pack[k], params_alone[k]) for k in params_in_pack)

    # The packed engine rounds otherwise.
    packed = go("packed", (0, 1), objective, "packed")
    for plain_state, packed_state in zip(together, packed, strict=True):
        for key, value in parameters(plain_state).items():
            torch.testing.assert_close(parameters(packed_state)[key], value, rtol=1e-4, atol=1e-6)


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
    """Files of documents as a user has them: 200 for training, 2 for testing, 3 words."""
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
    settings = [f"data.{k}={path}" for k, path in files.items()]

    assert main(["run", *TABLE, "data=word_counts", *settings, f"run.results={tmp_path}/runs"]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)

    assert says in err
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "data").glob("prepared/*.h5"))


def test_a_run_draws_no_images_of_counts(tmp_path, capsys):
    short = [
        "train.updates=20",
        "train.valid_every=20",
        "eval.iw_samples=5",
        f"run.results={tmp_path}/runs",
    ]

    assert main(["run", *TABLE, *short]) == 0
    assert "perplexity per document" in capsys.readouterr().out

    (folder,) = (tmp_path / "runs").glob("toy_counts-*/seed-0")
    for words in (["sample"], ["reconstruct", "--test", "2"], ["reconstruct"]):
        assert main([words[0], str(folder), *words[1:]]) == 2
        assert "toy_counts has documents as counts" in capsys.readouterr().err
    assert main(["export", str(folder), "--output", str(tmp_path / "model")]) == 0
