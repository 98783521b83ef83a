"""``vaebench eval RUN data=NAME``: a trained model on other data of the same kind and shape."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from kit.commands import call
from kit.runs import TINY

from vaebench import cli, data
from vaebench.api.runs import load_run
from vaebench.config import compose
from vaebench.protocol.protocol import Protocol
from vaebench.results.current import is_current
from vaebench.running.reevaluate import stored


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with one finished run of bits, 8 x 8. Only for reading."""
    root = tmp_path_factory.mktemp("runs")
    assert cli.main(["run", *TINY, f"run.results={root}"]) == 0
    return root


@pytest.fixture
def trained(finished, tmp_path):
    """A copy of ``finished`` for one test, because evaluations add to a run."""
    return shutil.copytree(finished, tmp_path / "trained")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Arguments that name image files of one's own, by what is in the files.

    ``same_test`` has the digits' test images and fewer training images; ``other_test`` has inverted
    test images; the images of ``wide`` are 8 x 16.
    """
    folder = tmp_path_factory.mktemp("files")
    digits = data.load(compose.section("data", "digits"))

    sets = {
        "same_test": (digits.train[:50], digits.valid, digits.test),
        "other_test": (digits.train, digits.valid, 1 - digits.test),
        "wide": tuple(np.repeat(x, 2, axis=1) for x in (digits.train, digits.valid, digits.test)),
    }

    for name, (train, valid, test) in sets.items():
        shape = (8, -1)
        arrays = {"train": train, "valid": valid, "test": test}
        np.savez(
            folder / f"{name}.npz", **{k: x.reshape(len(x), *shape) for k, x in arrays.items()}
        )

    return {name: ["data=images", f"data.train={folder / name}.npz"] for name in sets}


def folder_of(root):
    return next(root.glob("*/seed-0"))


def by_data(root, name):
    """The measures of the run that have ``name`` in their signature."""
    measures = json.loads((folder_of(root) / "result.json").read_text())["measures"]
    return [m for m in measures if name in m["signature"]]


def test_the_same_cases_behind_another_name_have_the_same_numbers_under_another_protocol(
    trained, files, capsys
):
    on_digits = {
        measure["name"]: measure
        for measure in by_data(trained, "data:digits@")
        if "split:test" in measure["signature"]
    }

    assert by_data(trained, "data:images@") == []
    assert cli.main(["eval", str(folder_of(trained)), *files["same_test"]]) == 0

    on_images = {measure["name"]: measure for measure in by_data(trained, "data:images@")}

    assert set(on_images) == set(on_digits)
    for name, measure in on_images.items():
        assert measure["value"] == on_digits[name]["value"], (
            "the mean that the model subtracts is that of its training data"
        )

        # The protocols differ in their data alone; ``trained`` names those of the training.
        parts = Protocol(measure["signature"]).parts
        before = Protocol(on_digits[name]["signature"]).parts
        assert parts.pop("trained") == before.pop("data")
        assert parts.pop("data") != before.get("data")
        assert parts == before

    streams = capsys.readouterr()
    assert "  of data images:\n" in streams.out
    assert "an evaluation on other data, images" in streams.err


@pytest.fixture
def report(trained):
    """Arguments that report the run of ``trained``."""
    one = ["--only", "SBN 200", "--only", "column=NVIL"]
    return ["report", *TINY[:2], *one, *TINY[8:], f"run.results={trained}"]


def test_other_data_are_in_no_row_and_have_no_verdict(trained, report, files, capsys):
    def rows():
        # The note under the rows that names the data is held by the next test.
        code, out, _ = call(capsys, *report)
        assert code == 0
        return out[: out.index("\ndata: ")]

    capsys.readouterr()
    before = rows()
    assert by_data(trained, "data:images@") == []
    assert call(capsys, "eval", folder_of(trained), *files["other_test"])[0] == 0
    assert by_data(trained, "data:images@")
    assert rows() == before

    _, out, _ = call(capsys, *report, "--format", "csv")
    lines = [line for line in out.splitlines() if "trained:digits@" in line]

    # In the CSV they are marked as not current, and without the printed number.
    assert lines
    assert all('""current"": false' in line and ",113.1," not in line for line in lines)


def test_a_report_is_the_same_after_an_evaluation_on_other_data(trained, report, files, capsys):
    capsys.readouterr()
    before = call(capsys, *report)

    assert call(capsys, "eval", folder_of(trained), *files["other_test"])[0] == 0

    assert call(capsys, *report) == before


def test_a_run_of_images_of_ones_own_is_not_judged_by_other_images(tmp_path, files):
    """Both data sets have the same name then, and only their hashes differ."""
    args = ["run", *TINY, *files["other_test"], f"run.results={tmp_path}"]
    assert cli.main(args) == 0
    by_own_data = by_data(tmp_path, "bound|data:images@")

    assert cli.main(["eval", str(folder_of(tmp_path)), *files["same_test"]]) == 0

    run = load_run(folder_of(tmp_path))
    cell = stored(run.folder, run._note, 0, []).cell
    bounds = [m for m in run.measures if m.name == "bound"]

    assert len(bounds) == 2
    assert [m.value for m in bounds if is_current(cell, m)] == [by_own_data[0]["value"]]


def test_a_run_that_is_only_trained_stays_so(tmp_path, files, capsys):
    args = ["run", *TINY, f"run.results={tmp_path}"]
    assert cli.main([*args, "--no-eval"]) == 0

    assert cli.main(["eval", str(folder_of(tmp_path)), *files["other_test"]]) == 0
    assert json.loads((folder_of(tmp_path) / "result.json").read_text())["status"] == "trained"

    capsys.readouterr()
    assert cli.main([*args, "--dry-run"]) == 0
    assert "to do: the evaluation of 1 trained run" in capsys.readouterr().out

    assert cli.main(args) == 0
    result = json.loads((folder_of(tmp_path) / "result.json").read_text())
    assert result["status"] == "done"
    assert {m["signature"].split("|")[1].split("@")[0] for m in result["measures"]} == {
        "data:digits",
        "data:images",
    }


def test_the_same_data_are_its_own(trained, capsys):
    before = [measure["signature"] for measure in by_data(trained, "")]
    capsys.readouterr()

    assert cli.main(["eval", str(folder_of(trained)), "data=digits", "data.held_out=100"]) == 0

    assert [measure["signature"] for measure in by_data(trained, "")] == before
    out, err = capsys.readouterr()
    assert "bound|data:digits@" in out
    assert "trained:digits@" not in out
    assert "of data" not in out
    assert "other data" not in err


def test_cases_of_other_data_are_named_by_their_hash(trained, files, tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]

    for path, name in zip(paths, ("same_test", "other_test"), strict=True):
        assert cli.main(["eval", str(folder_of(trained)), *files[name], "--cases", str(path)]) == 0

    # The second column is the hash of the split.
    assert len({path.read_text().splitlines()[1].split(",")[1] for path in paths}) == 2
    assert cli.main(["compare", *map(str, paths)]) == 2
    assert "data" in capsys.readouterr().err


def test_the_same_test_cases_compare_whatever_else_was_held_out(trained, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("a.csv", "b.csv")]

    for path, more in zip(paths, ([], ["data=digits", "data.held_out=50"]), strict=True):
        assert cli.main(["eval", str(folder_of(trained)), *more, "--cases", path]) == 0

    assert cli.main(["compare", *paths]) == 0
    assert "of data" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            ["data=digits_grey"],
            "data=digits_grey: intensity for examples; allowed: bits, as in digits",
        ),
        (["data=toy_text"], "data=toy_text: documents for examples; allowed: bits, as in digits"),
        (["data=blank"], "data=blank: examples of 1 x 1; allowed: 8 x 8, as in digits"),
        (["wide"], "data=images: examples of 8 x 16; allowed: 8 x 8, as in digits"),
        (["data=digitz"], "unknown data 'digitz'"),
        (["data=digits", "data.held_aut=5"], "held_out"),
        (["data=digits", "data.held_out=99999"], "data.held_out=99999"),
        (["data.held_out=5"], "a stored run keeps its training"),
        (["data=images"], "data.train=PATH"),
    ],
)
def test_what_the_model_cannot_read_is_one_line(trained, files, words, part, capsys):
    before = (folder_of(trained) / "result.json").read_bytes()
    arguments = files.get(words[0], words)

    assert cli.main(["eval", str(folder_of(trained)), *arguments]) == 2

    message = capsys.readouterr().err
    assert part in message
    assert message.count("\n") == 1
    assert (folder_of(trained) / "result.json").read_bytes() == before


def test_documents_need_the_same_vocabulary(tmp_path, capsys):
    texts = {
        "train": "a b c\nb a\nc b a\n",
        "valid": "a c\n",
        "test": "c a b\n",
        "more": "b\n",
        "others": "x y\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text * 20)
    paths = {name: f"{tmp_path / name}.txt" for name in texts}

    def words(train, test):
        return [
            "data=text",
            f"data.train={paths[train]}",
            f"data.valid={paths['valid']}",
            f"data.test={paths[test]}",
        ]

    run = [
        "run",
        "table=lagging_synthetic",
        "preset=quick",
        "--only",
        "row=basic, usual start, no dropout",
        "--seeds",
        "0",
        "train.updates=1",
    ]
    assert cli.main([*run, *words("train", "test"), f"run.results={tmp_path / 'runs'}"]) == 0

    folder = str(folder_of(tmp_path / "runs"))
    capsys.readouterr()

    assert cli.main(["eval", folder, *words("others", "more")]) == 2
    assert "another vocabulary" in capsys.readouterr().err

    assert cli.main(["eval", folder, *words("train", "more")]) == 0
    assert "of data text:" in capsys.readouterr().out


def test_another_kind_is_refused_before_data_are_read(trained, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("the data were loaded"))

    for words, part in (
        (["data=mnist_static"], "examples of 28 x 28"),
        (["data=yahoo"], "documents for examples"),
    ):
        assert cli.main(["eval", str(folder_of(trained)), *words]) == 2
        assert part in capsys.readouterr().err
