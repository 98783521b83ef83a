"""docs/own-data.md tells the truth: its commands run, one after the other, on a user's own data."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from kit.repository import ROOT
from PIL import Image

from vaebench.cli import main

PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: a folder with three files of documents, images in each form, counts,
    and nothing else."""
    for i, split in enumerate(("train", "valid", "test")):
        lines = [
            f"the {animal} sees the {object_} {'again ' * (i + 1)}."
            for animal in "abcdefgh"
            for object_ in "ijklm"
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")

    # Images: one .npy, one .npz with a single array, one .npz with all splits, a folder of PNGs.
    grey = np.random.default_rng(0).integers(0, 256, (60, 6, 5), dtype=np.uint8)
    np.save(tmp_path / "train.npy", grey[:40])
    np.savez(tmp_path / "valid.npz", grey[40:50])
    np.savez(tmp_path / "all.npz", train=grey[:40], valid=grey[40:50], test=grey[50:])

    for split, words in (("train", 150), ("test", 5)):
        (tmp_path / f"{split}.feat").write_text(
            "".join(f"1 {1 + i % 3}:2 {4 + i % 2}:1\n" for i in range(words))
        )

    (tmp_path / "words.txt").write_text("".join(f"word{i} 3\n" for i in range(5)))
    (tmp_path / "pngs").mkdir()
    for i, image in enumerate(grey[50:]):
        Image.fromarray(image).save(tmp_path / "pngs" / f"{i}.png")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VAEBENCH_MIRROR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def test_every_command_of_the_page_runs(here, monkeypatch, capsys):
    assert len(COMMANDS) == 13

    # Command -> names of the runs on images after it.
    runs = {}
    for command in COMMANDS:
        # RUN stands for a run of an earlier command; what follows ``<`` is read from stdin.
        folders = sorted(Path("results/runs").glob("text-*/seed-0"))
        line, _, source = command.partition(" < ")
        words = [str(folders[0]) if word == "RUN" else word for word in shlex.split(line)]

        assert words[0] == "vaebench"

        short_run = (
            ["train.updates=2", "train.valid_every=2", "run.engine=plain"]
            if words[1] in ("run", "report")
            else []
        )
        with open(source or os.devnull, encoding="utf-8") as documents:
            monkeypatch.setattr("sys.stdin", documents)
            assert main([*words[1:], *short_run]) == 0, command

        out = capsys.readouterr().out

        if words[1] == "report" and "--format" not in words:
            papers = {"images": "mnist_static", "text": "yahoo", "word_counts": "news20"}
            (option,) = (word.removeprefix("data=") for word in words if word.startswith("data="))

            assert f"data: {option}, not the paper's {papers[option]}" in out
            assert not any(
                word in out for word in ("published", "margin:", "where the paper is silent")
            )

        if words[1:3] == ["ls", "runs"]:
            assert (
                "lagging_yahoo: VAE + anneal / IW, preset=quick, data=text, data.train=train.txt"
                in out
            )

        runs[line] = sorted(p.parent.name for p in Path("results/runs").glob("images-*/seed-0"))

    # After the four commands on images: one file with all splits is the same run as a file for
    # each; with another held-out part it is another run.
    assert [len(v) for v in list(runs.values())[-6:-2]] == [1, 1, 1, 2]


def test_the_page_is_linked_and_names_every_setting():
    assert "docs/own-data.md" in (ROOT / "README.md").read_text(encoding="utf-8")

    documents, images, counts = re.split(r"\n## (?:Images|Documents as counts)\n", PAGE)
    filled_in_or_no_difference = {"name", "content", "held_out_seed", "mirror"}
    parts = (
        ("text", documents, {"held_out"}),
        ("images", images, set()),
        ("word_counts", counts, set()),
    )

    for option, part, also in parts:
        settings = set(
            re.findall(r"^(\w+):", (ROOT / "conf" / "data" / f"{option}.yaml").read_text(), re.M)
        )
        named = set(re.findall(r"`data\.(\w+)=", part))

        assert named == settings - filled_in_or_no_difference - also
