"""The command ``site``: its input, what it reads, what it tells, what it leaves as it was."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kit.pages import Page
from PIL import Image

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.results import store
from vaebench.running import progress
from vaebench.site import build, samples, sources
from vaebench.work import steps


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["table=nvil_recip", "--from", "reference"],
            "table=nvil_recip: did you mean 'nvil_recipe'?",
        ),
        (
            ["run.results=nowhere"],
            "nowhere: no results of these tables; --from reference shows those shipped",
        ),
        (
            ["--from", "reference", "--samples"],
            "site --from: there are no runs to read; leave out --samples",
        ),
        (["--from", "gone.csv"], "gone.csv"),
        (["preset=short"], "site does not take 'preset=short'"),
        (["--from", "reference", "--output", "file"], "--output file: not a folder"),
    ],
)
def test_bad_input(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    assert main(["site", *words]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    # A line that says what was begun may stand beside the error.
    (error,) = (said for said in err.splitlines() if not said.startswith("site: "))
    assert error.startswith("vaebench: ")
    assert line in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_the_runs_of_a_folder(tmp_path, capsys):
    runs = f"run.results={tmp_path / 'runs'}"
    only = ["--only", "row=mixture 1", "--seeds", "0"]
    assert main(["run", "table=dvae_sharp_sharp_toy", "preset=quick", *only, runs]) == 0

    # The same entry with a smaller budget is another run, of which no table has a row.
    smaller_budget = ["train.updates=5", *only, runs]
    assert main(["run", "table=dvae_sharp_sharp_toy", "preset=quick", *smaller_budget]) == 0
    capsys.readouterr()

    assert main(["site", "table=nvil_mnist", runs, "--output", str(tmp_path / "none")]) == 2
    # The entry has five columns, each of which was run twice.
    assert (
        "no results of these tables; 10 runs with other settings or of other tables left out"
        in capsys.readouterr().err
    )

    assert (
        main(
            [
                "site",
                "table=dvae_sharp_sharp_toy,nvil_mnist",
                runs,
                "--output",
                str(tmp_path / "site"),
            ]
        )
        == 0
    )

    assert "with other settings or of other tables left out" in capsys.readouterr().err

    text = (tmp_path / "site/table/dvae_sharp_sharp_toy.html").read_text()
    assert "quick" in text
    assert list((tmp_path / "site/run").glob("*-seed-0.html"))
    assert (tmp_path / "site/table/nvil_mnist.html").is_file()


def test_a_curve_that_cannot_be_drawn_is_left_out(tmp_path, caplog):
    """A damaged curve is left out with a warning, and its run still has a page. Of a curve with
    infinite values only these points are left out."""
    root = tmp_path / "runs"
    script = [sys.executable, Path(__file__).parents[2] / "scripts/simulated_store.py", root]

    subprocess.run(
        [*script, "--runs", "2", "--seeds", "2", "--validations", "5"],
        check=True,
        capture_output=True,
    )

    damaged, infinite = sorted(root.glob("*/seed-*/curve.csv"))

    damaged.write_text(damaged.read_text() + "no number,0,0\n")

    header, *lines = infinite.read_text().splitlines()
    column = header.split(",").index("valid_bound")
    first = lines[0].split(",")
    first[column] = "inf"
    infinite.write_text("\n".join([header, ",".join(first), *lines[1:], ""]))

    name = store.read_note(damaged.parent)[0]["table"]
    results = sources.of_store(catalogue.load(name), root, ["paper"])
    (curve,) = results.curves()["paper"]

    assert f"left out: {damaged}" in caplog.text
    assert curve.seed == 1
    assert len(curve.points) == len(lines) - 1

    pages = build.build(tmp_path / "site", [results])
    # The index, the boards, the table and the two runs.
    assert pages == 5

    with_figure = [path for path in (tmp_path / "site/run").iterdir() if Page(path).specs]
    assert [path.stem[-1] for path in with_figure] == ["1"]


def test_pages_that_would_be_the_same_keep_their_time(tmp_path):
    words = [
        "site",
        "table=dvae_sharp_sharp_toy,lagging_yelp",
        "--from",
        "reference",
        "--output",
        str(tmp_path),
    ]
    assert main(words) == 0

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    # So that a page that is written anew has another time.
    for path in files:
        os.utime(path, (1000, 1000))

    changed = tmp_path / "table/lagging_yelp.html"
    changed.write_text("of an earlier version")

    assert main(words) == 0

    assert "not run" in changed.read_text()
    assert [path for path in files if path.stat().st_mtime != 1000] == [changed]


def test_tables_that_share_a_run_have_one_page_of_it(tmp_path):
    """It is the page of the last of them. The number of pages is that of the files."""
    tables = [catalogue.load(name) for name in ("nvil_mnist", "nvil_recipe")]
    results = [sources.of_files(table, ["reference"]) for table in tables]
    shared = {*results[0].runs()} & {*results[1].runs()}
    assert shared

    assert build.build(tmp_path, results) == len(list(tmp_path.rglob("*.html")))

    for run in shared:
        assert "table/nvil_recipe.html" in (tmp_path / build.page_of(run)).read_text()


def test_it_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(steps, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)

    assert (
        main(
            [
                "site",
                "table=nvil_recipe,lagging_yelp",
                "--from",
                "reference",
                "--output",
                str(tmp_path),
            ]
        )
        == 0
    )

    err = capsys.readouterr().err
    assert "\nsite: tables read 1/2, " in err
    assert "\nsite: tables summed up 1/2, " in err
    assert re.search(r"\nsite: tables written 0/2, runs 3/\d+, [\d.]+ \w+ left\n", err)


def test_without_a_terminal_it_says_so_once_a_minute(tmp_path, capsys, monkeypatch):
    """By a clock that goes on 20 seconds from one message to the next: every third is shown."""
    looks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 20.0 * next(looks))
    monkeypatch.setattr(steps, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "time", clock)

    assert (
        main(
            [
                "site",
                "table=lagging_yelp,nvil_recipe",
                "--from",
                "reference",
                "--output",
                str(tmp_path),
            ]
        )
        == 0
    )

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("site:")]
    messages = next(looks)

    assert lines[0] == "site: tables read 0/2"
    assert messages > 6
    assert len(lines) == math.ceil(messages / 3)


def test_samples_of_a_run_are_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    few = [
        "preset=quick",
        "train.updates=2",
        "train.valid_every=1",
        "run.engine=plain",
        "model.dims=[3]",
    ]
    entry = ["table=nvil_mnist", "--only", "row=SBN 200", "--only", "column=NVIL", "--seeds", "0"]

    assert main(["run", *entry, *few, "eval.iw_samples=2", f"run.results={tmp_path / 'runs'}"]) == 0

    (run,) = (tmp_path / "runs").glob("*/seed-0")

    drawn = samples.of_run(run)

    (picture,) = drawn.pictures
    # Two rows of eight images of 8 x 8 with a line after each but the last; four dots a pixel.
    assert Image.open(io.BytesIO(picture)).size == (8 * 9 * 4 - 4, 2 * 9 * 4 - 4)
    assert not drawn.documents


def test_samples_of_a_text_model_are_documents_on_its_page(tmp_path):
    runs = f"run.results={tmp_path / 'runs'}"
    entry = ["--only", "row=basic, usual start, dropout 0.5", "--only", "column=IW", "--seeds", "0"]
    assert main(["run", "table=lagging_synthetic", "preset=quick", *entry, runs]) == 0

    words = ["table=lagging_synthetic", runs, "--samples", "--output", str(tmp_path / "site")]
    assert main(["site", *words]) == 0

    (page,) = (tmp_path / "site/run").glob("*.html")
    (listed,) = re.findall(r"<h2>Samples</h2>\n<ol>(.*?)</ol>", page.read_text(), re.S)
    documents = re.findall(r"<li>(.*?)</li>", listed)

    assert len(documents) == 16
    assert any(len(document.split()) > 1 for document in documents)
    assert Page(page).open == []
