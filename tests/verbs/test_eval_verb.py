"""`vaebench eval`: new metrics for stored runs, without training."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from vaebench import cli
from vaebench.results.store import Store

TINY = [
    "table=nvil_mnist",
    "preset=quick",
    "--only",
    "row=SBN 200",
    "--only",
    "column=NVIL",
    "model.dims=[5]",
]
FEW = [
    "train.updates=40",
    "train.valid_every=20",
    "eval.iw_samples=10",
    "run.jobs=1",
    "run.engine=plain",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished run at seeds 0 and 1. Only for reading."""
    root = tmp_path_factory.mktemp("runs")
    assert cli.main(["run", *TINY, *FEW, f"run.results={root}", "--seeds", "0,1"]) == 0
    return root


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished`` for one test, because evaluations add to a run."""
    return shutil.copytree(finished, tmp_path / "trained")


def measures(root: Path, seed: int) -> dict[str, list[dict]]:
    """The stored measures of a run, by their names."""
    by_name: dict[str, list[dict]] = {}

    for measure in json.loads(next(root.glob(f"*/seed-{seed}/result.json")).read_text())[
        "measures"
    ]:
        by_name.setdefault(measure["name"], []).append(measure)

    return by_name


def test_new_samples_are_added_and_the_old_kept(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = next(trained.glob("*/seed-0"))
    before = measures(trained, 0)["iw_nll"]
    weights = (
        (folder / "best.safetensors").read_bytes(),
        (folder / "checkpoint.safetensors").read_bytes(),
    )

    assert cli.main(["eval", str(folder), "eval.iw_samples=30"]) == 0

    after = {m["samples"]: m for m in measures(trained, 0)["iw_nll"]}
    assert set(after) == {10, 30}
    assert after[10]["value"] == before[0]["value"]
    # The first samples are the same ones, so the nested curve at 10 is the earlier estimate.
    assert after[30]["extra"]["curve"]["10"] == pytest.approx(before[0]["value"], abs=1e-9)

    # Nothing was trained.
    assert weights == (
        (folder / "best.safetensors").read_bytes(),
        (folder / "checkpoint.safetensors").read_bytes(),
    )
    assert "iw_nll" in capsys.readouterr().out


def test_a_name_means_all_its_seeds(trained: Path) -> None:
    name = next(trained.iterdir()).name

    assert cli.main(["eval", name, "eval.iw_samples=20", f"run.results={trained}"]) == 0

    assert all(20 in {m["samples"] for m in measures(trained, s)["iw_nll"]} for s in (0, 1))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nosuchrun"], "no run 'nosuchrun'"),
        (["eval.iw_samples=5"], "no run given"),
        (["RUN", "optim.rate=1"], "keeps its training"),
        (["RUN", "train.updates=9"], "keeps its training"),
        (["RUN", "eval.iw_smples=5"], "eval.iw_samples"),
        (["RUN", "eval.iw_samples=-5"], "eval.iw_samples"),
        (["RUN", "eval=bound11"], "bound10"),
    ],
)
def test_wrong_words_are_one_line(
    trained: Path, words: list[str], part: str, capsys: pytest.CaptureFixture
) -> None:
    folder = next(trained.glob("*/seed-1"))
    before = (folder / "result.json").read_bytes()
    words = [str(folder) if w == "RUN" else w for w in words]

    assert cli.main(["eval", *words, f"run.results={trained}"]) == 2

    message = capsys.readouterr().err
    assert part in message
    assert message.count("\n") == 1
    assert (folder / "result.json").read_bytes() == before


def test_bfloat16_is_another_number_beside_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Also beside that of an earlier version, which had no setting of the precision. A report shows
    the number that its settings ask for."""
    words = [
        "table=lagging_mnist",
        "preset=quick",
        "--only",
        "row=VAE",
        "--only",
        "column=IW",
        "--seeds",
        "0",
    ]
    words += [
        "train.updates=2",
        "train.valid_every=2",
        "eval.points=4",
        "eval.iw_samples=3",
        f"run.results={tmp_path}",
    ]
    assert cli.main(["run", *words, "run.jobs=1", "run.engine=plain"]) == 0

    (folder,) = tmp_path.glob("*/seed-0")

    # As an earlier version wrote it.
    note = json.loads((folder / "config.json").read_text())
    del note["config"]["eval"]["precision"]
    (folder / "config.json").write_text(json.dumps(note))

    assert cli.main(["eval", str(folder), "eval.precision=bfloat16"]) == 0
    stored = measures(tmp_path, 0)

    by_precision = {
        "bfloat16" if "precision:bfloat16" in measure["signature"] else "float32": measure["value"]
        for measure in stored["iw_nll"]
    }

    assert set(by_precision) == {"float32", "bfloat16"}
    assert by_precision["float32"] != by_precision["bfloat16"]
    assert len(stored["kl"]) == 1
    capsys.readouterr()

    reported = {}
    for precision in ("float32", "bfloat16"):
        assert cli.main(["report", *words, f"eval.precision={precision}", "--format", "csv"]) == 0

        lines = csv.DictReader(capsys.readouterr().out.splitlines())
        # Measures that the settings do not ask for are marked ``"current": false``.
        current = [
            line for line in lines if line["metric"] == "iw_nll" and "current" not in line["extra"]
        ]
        reported[precision] = [float(line["value"]) for line in current]
    assert reported == {precision: [value] for precision, value in by_precision.items()}


def test_an_unfinished_run_is_evaluated_and_can_still_go_on(tmp_path: Path) -> None:
    """A checkpoint in the middle of a budget gives measures, and the run is not taken for done."""
    words = ["run", *TINY, *FEW, f"run.results={tmp_path / 'a'}", "--seeds", "0"]
    assert cli.main(words) == 0

    short = next((tmp_path / "a").iterdir())

    # The state at update 40, under the name of a run with a budget of 60.
    assert cli.main([w if w != "train.updates=40" else "train.updates=60" for w in words]) == 0
    long = next(folder for folder in (tmp_path / "a").iterdir() if folder != short)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        shutil.copy(short / "seed-0" / name, long / "seed-0" / name)
    (long / "seed-0" / "result.json").unlink()

    assert cli.main(["eval", str(long)]) == 0
    result = json.loads((long / "seed-0" / "result.json").read_text())
    assert (result["status"], result["updates"]) == ("partial", 40)
    assert result["measures"]

    # The same command trains from update 40 to the end.
    assert cli.main([w if w != "train.updates=40" else "train.updates=60" for w in words]) == 0
    result = json.loads((long / "seed-0" / "result.json").read_text())
    assert (result["status"], result["updates"]) == ("done", 60)


def test_copies_beside_the_seeds_are_no_seeds(trained: Path, capsys: pytest.CaptureFixture) -> None:
    name = next(trained.iterdir()).name
    shutil.copytree(trained / name / "seed-0", trained / name / "seed-old")

    assert cli.main(["eval", name, "eval.iw_samples=20", f"run.results={trained}"]) == 0

    capsys.readouterr()
    assert cli.main(["eval", str(trained / name / "seed-old")]) == 2
    assert (
        capsys.readouterr().err
        == f"vaebench: {trained / name / 'seed-old'}: not a run of vaebench; "
        "expected a folder seed-N with config.json\n"
    )


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"config": {"run": {}}, "row": "a", "column": "b"}']
)
def test_a_damaged_note_is_one_line(
    trained: Path, capsys: pytest.CaptureFixture, content: str
) -> None:
    folder = next(trained.glob("*/seed-0"))
    (folder / "config.json").write_text(content)

    capsys.readouterr()
    for verb in ("eval", "sample"):
        assert cli.main([verb, str(folder)]) == 2

        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert "config.json: damaged, so what was trained is unknown" in message


def test_what_is_wrong_with_one_run_does_not_keep_the_others(trained: Path, capsys) -> None:
    """One run has a value that was not finite, null in the file, and a measure that cannot be read.
    The other run is held by another process."""
    name = next(trained.iterdir()).name
    folders = [trained / name / f"seed-{n}" for n in (0, 1)]

    result = json.loads((folders[1] / "result.json").read_text())
    estimate = next(m for m in result["measures"] if m["name"] == "iw_nll")
    estimate |= {
        "value": None,
        "samples": 7,
        "signature": estimate["signature"].replace("samples:10|", "samples:7|"),
    }
    result["measures"].append({"name": "bound"})
    (folders[1] / "result.json").write_text(json.dumps(result))

    with Store(trained).lock(name, 0):
        assert cli.main(["eval", *map(str, folders), "eval.iw_samples=11"]) == 1
        out, err = capsys.readouterr()
        assert "another process works on this run" in err
        assert f"{folders[1]}: done" in out
        assert "nan" in out
        assert cli.main(["eval", str(folders[0])]) == 2
        assert cli.main(["eval", *map(str, folders), "eval.iw_samples=-1"]) == 2


def test_a_value_that_differs_from_the_stored_one_is_said_and_both_are_kept(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = next(trained.glob("*/seed-0"))

    # Evaluated again, the value is the same, and nothing is said.
    assert cli.main(["eval", str(folder)]) == 0
    assert "warning" not in capsys.readouterr().err

    # Change the stored value by 0.25 nat.
    result = json.loads((folder / "result.json").read_text())
    (bound,) = (m for m in result["measures"] if m["name"] == "bound")
    measured = bound["value"]
    bound["value"] = bound["value"] + 0.25
    (folder / "result.json").write_text(json.dumps(result))

    assert cli.main(["eval", str(folder)]) == 0
    message = capsys.readouterr().err
    assert message.count("\n") == 2, "what the evaluation will cost, and what differs"
    assert f"bound is {measured:.6g} now and was {measured + 0.25:.6g} before" in message

    # The new value counts. The earlier one stays beside it, through further evaluations.
    for _ in range(2):
        (bound,) = measures(trained, 0)["bound"]
        assert bound["value"] == measured
        assert bound["extra"]["earlier"] == [measured + 0.25]
        assert cli.main(["eval", str(folder)]) == 0
        assert "warning" not in capsys.readouterr().err


def test_a_checkpoint_with_a_flipped_bit_is_not_evaluated(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = next(trained.glob("*/seed-0"))

    before = (folder / "result.json").read_bytes()
    for name in ("best.safetensors", "checkpoint.safetensors"):
        # A bit of the tensors, which stand behind the header.
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])

        assert cli.main(["eval", str(folder)]) == 2
        assert (
            f"{folder / name}: not a usable checkpoint (its content does not fit"
            in capsys.readouterr().err
        )
        assert (folder / "result.json").read_bytes() == before

        (folder / name).write_bytes(content)


def test_cases_are_what_the_measures_are_means_of(trained: Path, tmp_path: Path) -> None:
    folder = next(trained.glob("*/seed-0"))
    before = (folder / "result.json").read_bytes()
    stored = {
        (m["name"], m["samples"]): m for alike in measures(trained, 0).values() for m in alike
    }

    words = ["eval.iw_samples=10", "eval.points=17"]
    assert cli.main(["eval", str(folder), *words, "--cases", str(tmp_path / "a.csv")]) == 0
    assert (
        cli.main(["eval", str(folder), "eval.iw_samples=10", "--cases", str(tmp_path / "all.csv")])
        == 0
    )

    assert (folder / "result.json").read_bytes() == before

    few_rows, all_rows = (
        list(csv.DictReader((tmp_path / file).read_text().splitlines()))
        for file in ("a.csv", "all.csv")
    )
    # Both are means of the same numbers: they differ by rounding alone.
    for name, samples in (("iw_nll", 10), ("bound", 10), ("kl", 10)):
        mean = sum(float(row[name]) for row in all_rows) / len(all_rows)
        assert mean == pytest.approx(stored[name, samples]["value"], abs=1e-6)
    mean = sum(float(row["ess"]) for row in all_rows) / len(all_rows)
    assert mean == pytest.approx(stored["iw_nll", 10]["extra"]["ess"], abs=1e-6)

    assert len(few_rows) == 17
    # Fewer cases are spread evenly over the data.
    assert [int(row["case"]) for row in few_rows] == [i * len(all_rows) // 17 for i in range(17)]

    assert cli.main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "a.csv")]) == 0


def test_cases_of_several_runs_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name = next(trained.iterdir()).name
    words = ["eval", name, f"run.results={trained}", "--cases", str(tmp_path / "x.csv")]

    assert cli.main(words) == 2
    assert "--cases: 2 runs given; allowed: one, with its seed" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_an_evaluation_of_fewer_cases_is_marked_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = [*TINY, *FEW, f"run.results={tmp_path / 'runs'}"]
    assert cli.main(["run", *run, "--seeds", "0"]) == 0
    folder = next((tmp_path / "runs").glob("*/seed-0"))

    capsys.readouterr()

    assert cli.main(["eval", str(folder)]) == 0
    assert " cases:" not in capsys.readouterr().out, "an evaluation of all goes without saying"

    assert cli.main(["eval", str(folder), "eval.points=7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    few_begin = lines.index("  of 7 cases:")

    # The measures of all cases stand first, those of 7 cases below their own line.
    assert lines[1] == "  of all test cases:"
    assert all("points:7" not in line for line in lines[:few_begin])
    assert all("points:7" in line for line in lines[few_begin + 1 :] if "|" in line)

    assert cli.main(["eval", str(folder), "eval.points=7", "eval.split=valid"]) == 0
    assert "  of valid, 7 cases:\n" in capsys.readouterr().out

    assert cli.main(["ls", "runs", f"run.results={tmp_path / 'runs'}"]) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]

    assert line.index("; of valid, 7 cases: bound ") > line.index(" bound ")
    assert "; of 7 cases: bound " in line

    few_cases = "eval.points=7"
    assert (
        cli.main(
            ["report", *run, few_cases, "--format", "csv", "--output", str(tmp_path / "few.csv")]
        )
        == 0
    )
    assert cli.main(["report", *run, "--format", "csv", "--output", str(tmp_path / "all.csv")]) == 0
    capsys.readouterr()
    assert cli.main(["compare", str(tmp_path / "few.csv"), str(tmp_path / "few.csv")]) == 0
    assert "bound of 7 cases" in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "all.csv"), str(tmp_path / "all.csv")]) == 0
    assert "cases" not in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "few.csv"), str(tmp_path / "all.csv")]) == 2
    assert "points:7 against points:all" in capsys.readouterr().err


def test_more_cases_than_there_are_are_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = f"run.results={tmp_path}"
    assert cli.main(["run", *TINY, *FEW, root, "--seeds", "0", "eval.points=7"]) == 0

    capsys.readouterr()
    assert cli.main(["ls", "runs", root]) == 0
    assert re.search(r"  of 7 cases: bound .*; of training: valid_bound ", capsys.readouterr().out)

    assert (
        cli.main(["run", *TINY, *FEW, root, "--seeds", "0", "eval.points=100000", "--force"]) == 0
    )
    capsys.readouterr()
    assert cli.main(["ls", "runs", root]) == 0
    assert "cases" not in capsys.readouterr().out


def test_two_evaluations_of_the_same_cases_are_told_apart_by_their_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = f"run.results={tmp_path}"
    assert cli.main(["run", *TINY, *FEW, root, "--seeds", "0"]) == 0
    assert cli.main(["eval", str(next(tmp_path.glob("*/seed-0"))), "eval.iw_samples=20"]) == 0

    capsys.readouterr()
    assert cli.main(["ls", "runs", root]) == 0
    line = capsys.readouterr().out.splitlines()[1]

    assert "iw_nll K=20 " in line
    assert "iw_nll K=10 " in line
    assert "bound K" not in line
