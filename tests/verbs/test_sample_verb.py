"""``vaebench sample`` and ``reconstruct``: lines in, lines out, and one clear line for what is
refused."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from vaebench import data
from vaebench.cli import main
from vaebench.config import catalogue, compose
from vaebench.errors import UserError
from vaebench.evaluation import trained_run
from vaebench.results.lock import hold
from vaebench.verbs import pictured

RUNS = {
    "lagging_yahoo": ["row=VAE", "column=IW"],
    "nvil_mnist": ["row=SBN 200", "column=NVIL"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By table: the folder of one short run."""
    folders = {}
    for table, only in RUNS.items():
        root = tmp_path_factory.mktemp(table)
        picked = [word for choice in only for word in ("--only", choice)]
        short = [
            "train.updates=20",
            "train.valid_every=10",
            "eval.points=5",
            "eval.iw_samples=2",
            "run.jobs=1",
        ]

        args = [
            "run",
            f"table={table}",
            "preset=quick",
            "--seeds",
            "0",
            *picked,
            *short,
            f"run.results={root}",
        ]

        assert main(args) == 0
        (folders[table],) = root.glob("*/seed-0")

    return folders


def feed(monkeypatch, content: bytes) -> None:
    """Let a command find this on its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_documents(runs, capsys, monkeypatch, tmp_path):
    folder = str(runs["lagging_yahoo"])
    capsys.readouterr()

    assert main(["sample", folder, "--number", "3", "--longest", "4"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(len(line.split()) <= 4 for line in lines)

    feed(monkeypatch, b"the cat sat\nnobody knows this word\n")
    assert (
        main(["reconstruct", folder, "--output", str(tmp_path / "new/again.txt"), "--how", "beam"])
        == 0
    )
    assert len((tmp_path / "new/again.txt").read_text().splitlines()) == 2

    feed(monkeypatch, b"the cat sat\na dog\nthe red ship\n")
    assert main(["reconstruct", folder, "--path", "4", "--code", "sample"]) == 0
    # Four lines from the first document to the second, and four from there to the third.
    assert len(capsys.readouterr().out.splitlines()) == 2 * 4

    assert main(["reconstruct", folder, "--test", "3"]) == 0

    pairs = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(pair) for pair in pairs] == [2, 2, 2]
    assert all(original.split() for original, _ in pairs)


def test_images(runs, capsys, monkeypatch, tmp_path):
    folder = runs["nvil_mnist"]
    capsys.readouterr()
    assert (
        main(["sample", folder.parent.name, f"run.results={folder.parent.parent}", "--number", "4"])
        == 0
    )

    text = capsys.readouterr().out
    assert [len(line) for line in text.splitlines()] == [64] * 4

    feed(monkeypatch, text.encode())
    assert main(["reconstruct", str(folder)]) == 0

    again = capsys.readouterr().out.splitlines()
    assert len(again) == 4
    assert set("".join(again)) == {"0", "1"}

    assert (
        main(["reconstruct", str(folder), "--test", "3", "--output", str(tmp_path / "pairs.txt")])
        == 0
    )
    # An image of 64 pixels, a tab, and its reconstruction.
    assert [len(line) for line in (tmp_path / "pairs.txt").read_text().splitlines()] == [129] * 3

    assert main(["sample", str(folder), "--output", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("table", "wrong", "given", "says"),
    [
        ("lagging_yahoo", ["sample", "--how", "best"], b"", "allowed: beam, greedy, sample"),
        ("lagging_yahoo", ["sample", "train.batch=3"], b"", "a trained run has its settings"),
        ("lagging_yahoo", ["sample", "nowhere"], b"", "2 runs given; allowed: one"),
        ("lagging_yahoo", ["reconstruct"], b"", "nothing to read"),
        ("lagging_yahoo", ["reconstruct"], b"the cat\n\nsat\n", "line 2 is empty"),
        ("lagging_yahoo", ["reconstruct"], b"the cat\n\xff\n", "line 2 is not UTF-8"),
        ("lagging_yahoo", ["reconstruct"], b"1\tthe cat\n", "line 1 has a tab"),
        (
            "lagging_yahoo",
            ["reconstruct", "--path", "3"],
            b"the cat\n",
            "--path: needs two documents",
        ),
        (
            "nvil_mnist",
            ["reconstruct"],
            b"0101\n",
            "line 1: expected 64 characters 0 or 1, found 4",
        ),
        (
            "nvil_mnist",
            ["reconstruct"],
            b"01" * 30 + b"0121\n",
            "line 1: expected 64 characters 0 or 1, found '2' at character 63",
        ),
        ("nvil_mnist", ["reconstruct", "--path", "3"], b"0\n1\n", "--path: for documents"),
        ("nvil_mnist", ["sample", "--how", "beam"], b"", "--how: for documents"),
        (
            "nvil_mnist",
            ["reconstruct", "--test", "2", "--code", "mean"],
            b"",
            "model=sbn has no mean of the codes",
        ),
        ("lagging_yahoo", ["sample", "--traverse", "1"], b"", "--traverse: for images"),
        ("lagging_yahoo", ["sample", "--manifold"], b"", "--manifold: for images"),
        (
            "lagging_yahoo",
            ["reconstruct", "--test", "2", "--path", "3"],
            b"",
            "--path: of documents",
        ),
    ],
)
def test_what_is_refused(runs, capsys, monkeypatch, table, wrong, given, says):
    capsys.readouterr()
    feed(monkeypatch, given)

    assert main([wrong[0], str(runs[table]), *wrong[1:]]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vaebench: ")
    assert says in err
    assert err.count("\n") == 1


def test_a_folder_without_a_run(tmp_path, capsys):
    assert main(["sample", str(tmp_path)]) == 2

    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0/config.json").write_text("{}")
    assert main(["sample", str(tmp_path)]) == 2
    assert "config.json: damaged" in capsys.readouterr().err


def test_data_that_are_others_now_are_refused(runs, capsys, tmp_path):
    key = runs["nvil_mnist"].parent.name
    folder = shutil.copytree(runs["nvil_mnist"], tmp_path / key / "seed-0")

    note = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**note, "data_hash": "0" * 64}))

    assert main(["sample", str(folder)]) == 2
    assert "trained on other data (00000000, now" in capsys.readouterr().err


def test_a_run_in_training_is_not_told_to_start_anew(runs, capsys, monkeypatch):
    """The best checkpoint is written before the other one: in between they do not fit together."""

    def apart(*_):
        raise UserError(
            "of update 14, but the best by the checkpoint is 8; with --force it starts anew"
        )

    monkeypatch.setattr(trained_run, "evaluated_checkpoint", apart)

    folder = runs["nvil_mnist"]
    capsys.readouterr()

    with hold(folder) as held:
        assert main(["sample", str(folder)]) == 2
    busy = (
        f"{folder}: {held.holder} works on this run, and its checkpoints do not fit together "
        "yet; try again later"
    )
    assert capsys.readouterr().err == f"vaebench: {busy}\n"

    # If nobody works on it, the run is damaged.
    assert main(["sample", str(folder)]) == 2
    assert "starts anew" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG", "x.gif"])
def test_an_image_that_is_not_drawn_does_not_become_text(name):
    with pytest.raises(UserError, match="cannot draw to"):
        pictured.is_picture(Path(name))

    assert pictured.is_picture(Path("x.png"))
    assert not any(pictured.is_picture(Path(name)) for name in ("x.txt", "x", "x.csv", "x.npy"))

    with pytest.raises(UserError, match="did you mean"):
        pictured.is_picture(Path("x.pngg"))


@pytest.mark.parametrize(
    ("table", "words", "says"),
    [
        ("aevb_bound", ["sample", "--traverse", "4"], "4 latents to move: the model has 3"),
        (
            "aevb_bound",
            ["sample", "--manifold", "--around", "300"],
            "image 300: allowed: a whole number from 0 to 299",
        ),
        (
            "aevb_bound",
            ["reconstruct", "--test", "301"],
            "--test 301: allowed: a whole number from 1 to 300",
        ),
        (
            "aevb_bound",
            ["sample", "--longest", "3"],
            "--longest: for documents, and digits has none",
        ),
        (
            "nvil_mnist",
            ["sample", "--traverse", "2"],
            "model=sbn has no Gaussian latents of images",
        ),
        (
            "nvil_mnist",
            ["reconstruct", "--path", "2"],
            "--path: for documents, and digits has none",
        ),
        (
            "lagging_yahoo",
            ["sample", "--steps", "3", "--manifold"],
            "--manifold: for images, and toy_text has none",
        ),
        (
            "lagging_yahoo",
            ["sample", "--output", "x.png"],
            "x.png: documents are text; write a name such as x.txt",
        ),
    ],
)
def test_what_the_settings_of_a_run_refuse_is_refused_before_its_data_are_read(
    tmp_path, capsys, monkeypatch, table, words, says
):
    """Of the run there is only its note: no checkpoint, and no data that may be loaded."""
    changes = ["model.latents=3"] if table == "aevb_bound" else []
    cell = compose.cells(catalogue.load_table(table), catalogue.load_preset("quick"), changes)[0]

    folder = tmp_path / cell.key / "seed-0"
    folder.mkdir(parents=True)
    note = {"config": cell.config, "data_hash": "0" * 64, "row": cell.row, "column": cell.column}
    (folder / "config.json").write_text(json.dumps(note))

    def load(*_):
        pytest.fail("the data were loaded")

    monkeypatch.setattr(data, "load", load)

    assert main([words[0], str(folder), *words[1:]]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
