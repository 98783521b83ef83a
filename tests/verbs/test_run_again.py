"""``vaebench run`` beside other commands and after them: every run is done once."""

from __future__ import annotations

import json
import shutil
import signal

from kit.snippets import HOLD, MORE_SAMPLES, TWO_CELLS, checkpoints, times


def test_ten_commands_on_one_folder_do_every_run_once(
    vaebench, results, expected, states_of, tmp_path, log
):
    commands = [vaebench("run", *TWO_CELLS, results, code=log[0]) for _ in range(10)]

    ended = [command.wait() for command in commands]

    assert [code for code, _, _ in ended] == [0] * 10, [err for _, _, err in ended]
    assert states_of(tmp_path / "runs") == expected

    lines = log[1]()
    assert len(lines) == len(set(lines)) == 8, (
        "4 runs, each trained once from its beginning and evaluated once"
    )
    assert sum("waiting for" in err for _, _, err in ended) >= 1
    assert len({out for _, out, _ in ended}) == 1, "and all show the same table"


def test_a_run_whose_holder_is_killed_is_taken_over(
    vaebench, results, until, expected, states_of, tmp_path, log
):
    holder = vaebench(
        "run",
        *TWO_CELLS,
        results,
        "--only",
        "column=NVIL",
        code=HOLD.format(until=False, seconds=60),
    )
    until(lambda: len(checkpoints(tmp_path)) == 2)

    heir = vaebench("run", *TWO_CELLS, results, code=log[0])
    until(lambda: "waiting for 2 runs that another process works on" in heir.err)

    assert holder.running()
    holder.signal(signal.SIGKILL)

    code, _, err = heir.wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected
    # Both runs with NVIL go on from where the killed command was, not from update 0.
    assert [
        line.split()[3] != "0" for line in log[1]() if line.startswith("train") and "nvil" in line
    ] == [True, True]


def test_training_now_and_evaluating_later_is_the_same_run(
    vaebench, results, expected, states_of, tmp_path
):
    def out_and_err(*more):
        code, out, err = vaebench("run", *TWO_CELLS, results, *more).wait()
        assert code == 0, err
        return out, err

    out, err = out_and_err("--no-eval")
    assert "2 trained" in out
    assert (
        "trained and not evaluated: 4 runs; the same command without --no-eval evaluates them"
        in err
    )

    for more, words in (
        (["--no-eval"], "to do: nothing"),
        ([], "to do: the evaluation of 4 trained runs"),
        (["--no-eval", "--force"], "4 runs"),
    ):
        assert words in out_and_err("--dry-run", *more)[0]

    assert "not evaluated" not in out_and_err()[1]
    assert states_of(tmp_path / "runs") == expected


def test_what_is_finished_is_skipped_and_new_evaluations_need_no_training(
    vaebench, whole, tmp_path, log
):
    root = tmp_path / "runs"
    shutil.copytree(whole[0], root)

    before = times(root)

    args = [*TWO_CELLS, f"run.results={root}"]
    code, out, err = vaebench("run", *args, code=log[0]).wait()
    assert (code, out, err) == (0, whole[2], "")
    assert times(root) == before

    code, _, err = vaebench("run", *args, "eval.iw_samples=20", code=log[0]).wait()
    assert code == 0, err
    assert [line.split()[0] for line in log[1]()] == ["evaluate"] * 4

    # The weights are the files that were there.
    after = times(root)
    assert {path: written for path, written in after.items() if path.suffix == ".safetensors"} == {
        path: written for path, written in before.items() if path.suffix == ".safetensors"
    }

    for path in root.glob("*/seed-*/result.json"):
        samples = [
            m["samples"] for m in json.loads(path.read_text())["measures"] if m["name"] == "iw_nll"
        ]
        assert sorted(samples) == [10, 20]


def test_a_larger_budget_goes_on_from_the_smaller_one(
    vaebench, results, whole, expected, states_of, tmp_path, log
):
    args = [*TWO_CELLS, results, "--only", "column=NVIL"]
    assert vaebench("run", *args, "train.updates=80").wait()[0] == 0

    code, _, err = vaebench("run", *args, code=log[0]).wait()

    assert code == 0, err
    assert [line.split()[3] for line in log[1]() if line.startswith("train")] == ["80", "80"]

    states = states_of(tmp_path / "runs")
    assert len(states) == 4, "the smaller run's folders stay"
    assert {k: v for k, v in states.items() if k in expected} == {
        k: v for k, v in expected.items() if "nvil" in k[0]
    }


def test_tables_that_share_runs_train_them_once(vaebench, whole, tmp_path, log):
    """Three tables in one command. The second shares a cell with the first. The third trains what
    the second trains, and evaluates it with other samples."""
    code = log[0] + MORE_SAMPLES
    root = tmp_path / "runs"
    args = [
        "table=nvil_mnist,nvil_autoreg,more_samples",
        *TWO_CELLS[1:],
        f"run.results={root}",
        "--seeds",
        "0",
    ]

    shown = vaebench("run", *args, "--dry-run", code=code).wait()[1]
    assert shown.count("1 new") == 6
    assert shown.endswith("to do: 3 runs of unknown cost (nothing like them is recorded)\n")
    assert not root.exists()

    exit_code, out, err = vaebench("run", *args, code=code).wait()

    assert exit_code == 0, err

    lines = log[1]()
    assert len([line for line in lines if line.startswith("train")]) == 3
    # The two runs with NVIL are in the third table as well, which asks for 7 samples.
    assert sorted(line for line in lines if line.startswith("evaluate")) == sorted(
        ["evaluate nvil 0 10", "evaluate nvil 0 7"] * 2 + ["evaluate wake_sleep 0 10"]
    )

    assert out.count("Table 1") == 1
    assert out.count("Table 2") == 2

    exit_code, again, err = vaebench("run", *args, code=code).wait()
    assert (exit_code, again, err) == (0, out, ""), "one command was enough"
    assert log[1]() == lines

    assert vaebench("run", *args, "--force", code=code).wait()[0] == 0
    assert sorted(log[1]()) == sorted(lines * 2), (
        "thrown away and trained once, not once for each table"
    )
