"""``vaebench run`` as a person meets it: kills, Ctrl-C, many at once, full disks, wrong words, what goes where."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch

from vaebench import data
from vaebench.cli import main
from vaebench.config import cells as config
from vaebench.rng import noise

QUICK = ["table=nvil_mnist", "preset=quick", "--only", "row=SBN 200", "model.dims=[10]", "eval.iw_samples=10"]
HERE = ["run.jobs=1", "run.device=cpu", "run.engine=plain"]
TINY = [*QUICK, *HERE, "train.updates=120", "train.valid_every=40"]

HOLD = """
import os, time, vaebench.training.engines as f
real, calls = f.Pack.advance, []
def advance(self, *a):
    calls.append(1)
    end = time.monotonic() + {seconds}
    while len(calls) > 1 and not ({until}) and time.monotonic() < end:
        time.sleep(0.01)
    return real(self, *a)
f.Pack.advance = advance
"""
"""Code for a command: after the first updates of a process it waits until something is so, at most so many seconds."""

SPOKEN = "'saving the state' in open('/proc/self/fd/2').read()"
"""It has said on stderr that it received a signal."""

LOG = """
import os, vaebench.running.session as s
train, evaluate = s.train, s.evaluate
def note(*words):
    with open({path!r}, "a") as f:
        f.write(" ".join(map(str, words)) + "\\n")
def logged_train(config, splits, seeds, *rest):
    for x in seeds:
        note("train", x.folder.parent.name, x.seed, x.update)
    return train(config, splits, seeds, *rest)
def logged_evaluate(model, x, config, data_hash, seed):
    note("evaluate", config["objective"]["name"], seed, config["eval"]["bound_samples"])
    return evaluate(model, x, config, data_hash, seed)
s.train, s.evaluate = logged_train, logged_evaluate
import vaebench.running.tasks
vaebench.running.tasks.WAIT_SECONDS = 0.1
"""
"""Code for a command: what it trains and evaluates is noted in a file."""

MORE_SAMPLES = """
from dataclasses import replace
from vaebench.config import catalogue
load, options = catalogue.load, catalogue.options
def load_more(name):
    table = load("nvil_autoreg" if name == "more_samples" else name)
    return replace(table, name=name, base=(*table.base, "eval.bound_samples=7")) if name == "more_samples" else table
catalogue.load = load_more
catalogue.options = lambda group: options(group) + (["more_samples"] if group == "table" else [])
"""
"""Code for a command: a table that trains what nvil_autoreg trains, and evaluates it otherwise."""

FULL = """
import errno, os
def full(handle):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = full
"""

BROKEN = """
import vaebench.running.session as s
real = s.train
def train(config, *rest):
    if config["objective"]["name"] == "nvil":
        raise RuntimeError("a cell is broken")
    return real(config, *rest)
s.train = train
"""


@pytest.fixture
def results(tmp_path):
    return f"run.results={tmp_path / 'runs'}"


@pytest.fixture
def log(tmp_path):
    """(code that notes, function that reads the notes)"""
    path = tmp_path / "log"
    return LOG.format(path=str(path)), lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def whole(_zygote, tmp_path_factory):
    """(what an uninterrupted command left, how long it took, its streams)."""
    root = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    command = _zygote.start(["run", *TINY, f"run.results={root}"])
    code, out, err = command.wait()
    assert code == 0, err
    return root, time.monotonic() - began, out, err


@pytest.fixture
def expected(whole, states_of):
    states = states_of(whole[0])
    assert len(states) == 4
    return states


def checkpoints(tmp_path):
    return list((tmp_path / "runs").glob("*/seed-*/checkpoint.safetensors"))


# ------------------------------------------------------------------------------------------------- kill, Ctrl-C


def killed_at_random(vaebench, args, kills, rng, seconds):
    """Start a command again and again and kill it at random moments; how many kills found it at work."""
    found = 0
    for i in range(kills):  # the first ones early, in case the machine was slower when ``seconds`` were taken
        command = vaebench("run", *args, code="import vaebench.training.bookkeeping as t; t.SAVE_SECONDS = 0.0")
        time.sleep(rng.uniform(0.05, 0.25) * min(i + 1, 3) * seconds)
        found += command.running()
        with contextlib.suppress(ProcessLookupError):
            command.signal_all(signal.SIGKILL)
        command.wait()
    return found


def test_a_command_killed_at_random_moments_ends_as_if_nothing_had_been(
    vaebench, results, whole, expected, states_of, tmp_path
):
    assert killed_at_random(vaebench, [*TINY, results], 3, random.Random(0), whole[1])
    code, _, err = vaebench("run", *TINY, results).wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("more", [[], ["train.order=shuffle", "train.valid_every=70"], ["run.jobs=2"]], ids=str)
def test_twenty_kills(vaebench, results, states_of, tmp_path, more):
    args = [*TINY, "train.updates=3000", *more]
    began = time.monotonic()
    assert vaebench("run", *args, f"run.results={tmp_path / 'whole'}").wait()[0] == 0
    rng = random.Random(1)
    assert killed_at_random(vaebench, [*args, results], 20, rng, min((time.monotonic() - began) / 8, 8.0))
    assert vaebench("run", *args, results).wait(300)[0] == 0
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_so_and_the_same_command_goes_on(
    vaebench, results, until, expected, states_of, tmp_path, log, number
):
    command = vaebench("run", *TINY, results, code=HOLD.format(until=SPOKEN, seconds=60))
    until(lambda: len(checkpoints(tmp_path)) == 2)
    command.signal_all(number)
    code, out, err = command.wait()
    assert code == 130
    lines = err.splitlines()
    assert lines[0] == "SBN 200 / NVIL seeds 0,1: training, update 0 of 120"
    assert lines[1] == "vaebench: saving the state and stopping; once more to end at once"
    assert lines[-1] == "vaebench: interrupted; the state is saved, the same command goes on from here"
    assert "Traceback" not in err
    assert "not run" in out, "the table as far as it goes"
    assert command.survivors() == []
    code, _, err = vaebench("run", *TINY, results, code=log[0]).wait()
    assert code == 0, err
    trained = [line.split() for line in log[1]() if line.startswith("train")]
    assert [int(t[3]) > 0 for t in trained] == [True, True, False, False], "NVIL went on, WS began"
    assert states_of(tmp_path / "runs") == expected


def test_a_second_ctrl_c_ends_at_once(vaebench, results, until, tmp_path):
    deaf = HOLD.format(until=False, seconds=300)  # longer than any wait here, however busy the machine
    command = vaebench("run", *TINY, results, code=deaf)
    until(lambda: len(checkpoints(tmp_path)) == 2)
    command.signal(signal.SIGINT)
    until(lambda: "once more to end at once" in command.err)
    command.signal(signal.SIGINT)
    began = time.monotonic()
    code, _, err = command.wait()
    assert (code, err.splitlines()[-1]) == (130, "vaebench: interrupted")
    assert time.monotonic() - began < 20
    assert "Traceback" not in err
    assert list((tmp_path / "runs").rglob("*.tmp")) == []


@pytest.mark.slow
def test_several_jobs_stop_together_and_leave_no_orphans(vaebench, results, until, states_of, tmp_path):
    """Interrupted as by a terminal while the children start; killed outright; then stopped once more, and finished."""
    longer = [*TINY, "train.updates=2000"]  # so that no process ends its training before it is told to stop
    jobs = [*longer, "run.jobs=2", results]
    first = vaebench("run", *jobs)
    until(lambda: len(first.survivors()) > 2)
    first.signal_all(signal.SIGINT)
    code, _, err = first.wait()
    assert code == 130
    assert "Traceback" not in err
    until(lambda: first.survivors() == [])

    go = tmp_path / "go"
    hold = HOLD.format(until=f"os.path.exists({str(go)!r})", seconds=60)
    second = vaebench("run", *jobs, child=hold)
    until(lambda: len(checkpoints(tmp_path)) == 4)
    second.signal(signal.SIGKILL)
    until(lambda: not second.running())
    go.touch()
    until(lambda: second.survivors() == [])
    assert second.err == ""
    assert list((tmp_path / "runs").glob("*/*/result.json")) == [], "they stopped, and did not go on to the end"

    go.unlink()
    before = [p.stat().st_mtime_ns for p in sorted(checkpoints(tmp_path))]
    third = vaebench("run", *jobs, child=hold)
    until(lambda: all(p.stat().st_mtime_ns > b for p, b in zip(sorted(checkpoints(tmp_path)), before, strict=True)))
    third.signal_all(signal.SIGTERM)
    until(lambda: "once more to end at once" in third.err)
    go.touch()
    code, _, err = third.wait()
    assert code == 130
    assert err.splitlines()[-1] == "vaebench: interrupted; the state is saved, the same command goes on from here"
    assert "Traceback" not in err
    until(lambda: third.survivors() == [])

    code, _, err = vaebench("run", *longer, results).wait()
    assert code == 0, err
    assert vaebench("run", *longer, f"run.results={tmp_path / 'whole'}").wait()[0] == 0
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


# ------------------------------------------------------------------------------------------------- many at once


def test_ten_commands_on_one_folder_do_every_run_once(vaebench, results, expected, states_of, tmp_path, log):
    commands = [vaebench("run", *TINY, results, code=log[0]) for _ in range(10)]
    ended = [c.wait() for c in commands]
    assert [code for code, _, _ in ended] == [0] * 10, [err for _, _, err in ended]
    assert states_of(tmp_path / "runs") == expected
    lines = log[1]()
    assert len(lines) == len(set(lines)) == 8, "4 runs, each trained once from its beginning and evaluated once"
    assert sum("waiting for" in err for _, _, err in ended) >= 1
    assert len({out for _, out, _ in ended}) == 1, "and all show the same table"


def test_a_run_whose_holder_is_killed_is_taken_over(vaebench, results, until, expected, states_of, tmp_path, log):
    holder = vaebench("run", *TINY, results, "--only", "column=NVIL", code=HOLD.format(until=False, seconds=60))
    until(lambda: len(checkpoints(tmp_path)) == 2)
    heir = vaebench("run", *TINY, results, code=log[0])
    until(lambda: "waiting for 2 runs that another process works on" in heir.err)
    assert holder.running()
    holder.signal(signal.SIGKILL)
    code, _, err = heir.wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected
    assert [line.split()[3] != "0" for line in log[1]() if line.startswith("train") and "nvil" in line] == [True, True]


# ---------------------------------------------------------------------------------------- failures and divergence


def test_an_absurd_rate_is_reported_again_without_training_until_forced(vaebench, results, tmp_path, log):
    args = [*TINY, results, "--only", "column=NVIL", "optim.rate=1e38", "optim.posterior_rate=1e18"]
    code, out, err = vaebench("run", *args, code=log[0]).wait()
    assert code == 1
    bad = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert len(bad) == 2
    for seed, line in enumerate(bad):
        head = f"vaebench: nvil_mnist: SBN 200 / NVIL seed {seed} diverged: "
        assert line.startswith(head)
        assert "is not finite at update 40; there is no checkpoint yet" in line
    assert "diverged" in out
    found = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/seed-*/result.json")]
    assert [r["status"] for r in found] == ["diverged", "diverged"]
    assert len(log[1]()) == 2
    code, _, err = vaebench("run", *args, code=log[0]).wait()
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("vaebench: ")] == bad
    assert len(log[1]()) == 2, "not trained again"
    code, _, _ = vaebench("run", *args, "--force", code=log[0]).wait()
    assert code == 1
    assert [line.split()[3] for line in log[1]()] == ["0"] * 4


def test_a_cell_that_fails_is_told_at_the_end_and_the_others_complete(vaebench, results, expected, states_of, tmp_path):
    code, out, err = vaebench("run", *TINY, results, code=BROKEN).wait()
    assert code == 1
    reason = "RuntimeError: a cell is broken"
    assert [line for line in err.splitlines() if "broken" in line] == [
        f"[1/2] nvil_mnist: SBN 200 / NVIL: failed (seeds 0,1): {reason} in 0.0 s",
        *(f"vaebench: nvil_mnist: SBN 200 / NVIL seed {s} failed: {reason}" for s in (0, 1)),
    ]
    assert "[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1)" in err
    assert "Traceback" not in err
    assert "failed" in out
    code, _, err = vaebench("run", *TINY, results).wait()
    assert code == 0
    assert err.startswith("1 of 2 cells are finished already\n")
    assert states_of(tmp_path / "runs") == expected


def test_fail_fast_begins_nothing_new(vaebench, results, tmp_path):
    code, _, err = vaebench("run", *TINY, results, "--fail-fast", code=BROKEN).wait()
    assert code == 1
    assert "WS: done" not in err
    assert "2 runs were not begun after the failure (--fail-fast)" in err
    assert len(list((tmp_path / "runs").glob("*/seed-*"))) == 2


def test_training_now_and_evaluating_later_is_the_same_run(vaebench, results, expected, states_of, tmp_path):
    def out_and_err(*more):
        code, out, err = vaebench("run", *TINY, results, *more).wait()
        assert code == 0, err
        return out, err

    out, err = out_and_err("--no-eval")
    assert "2 trained" in out
    assert "trained and not evaluated: 4 runs; the same command without --no-eval evaluates them" in err
    for more, words in (
        (["--no-eval"], "to do: nothing"),
        ([], "to do: the evaluation of 4 trained runs"),
        (["--no-eval", "--force"], "4 runs"),
    ):
        assert words in out_and_err("--dry-run", *more)[0]
    assert "not evaluated" not in out_and_err()[1]
    assert states_of(tmp_path / "runs") == expected


def test_a_command_whose_time_is_over_saves_and_the_same_command_goes_on(
    vaebench, results, expected, states_of, tmp_path
):
    slow = HOLD.format(until=False, seconds=3)
    code, out, err = vaebench("run", *TINY, results, "--minutes", "0.03", code=slow).wait()
    assert code == 0, err
    assert "0.03 minutes are over, the state is saved: 4 of 4 runs left; the same command goes on from here" in err
    assert "SBN 200" in out, "the table as far as it goes"
    code, _, err = vaebench("run", *TINY, results, "--minutes", "90").wait()
    assert (code, "over" in err) == (0, False), err
    assert states_of(tmp_path / "runs") == expected


def test_no_time_is_over_where_nothing_is_left(whole, capsys):
    assert main(["run", *TINY, f"run.results={whole[0]}", "--minutes", "0.000001"]) == 0
    assert "over" not in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "x"])
def test_a_time_that_is_none_is_refused(results, tmp_path, capsys, minutes):
    assert main(["run", *TINY, results, "--minutes", minutes]) == 2
    assert "--minutes" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_one_line_and_a_rerun_completes(vaebench, results, expected, states_of, tmp_path):
    code, _, err = vaebench("run", *TINY, results, code=FULL).wait()
    assert code == 1
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert len(told) == 4
    assert all("failed: No space left on device" in line for line in told)
    assert [p for p in (tmp_path / "runs").rglob("*") if p.is_file() and p.name != ".lock"] == []
    code, _, err = vaebench("run", *TINY, results).wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


@pytest.mark.parametrize("below", ["", "/deeper/still"])
def test_a_results_folder_that_cannot_be_made_is_one_line(tmp_path, capsys, below):
    (tmp_path / "taken").write_text("a file")
    place = f"{tmp_path / 'taken'}{below}"
    assert main(["run", *TINY, f"run.results={place}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vaebench: run.results={place}: this folder cannot be made: ")
    assert err.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_damaged_checkpoint_is_one_line_until_forced(vaebench, whole, expected, states_of, tmp_path):
    shutil.copytree(whole[0], tmp_path / "runs")
    folder = next((tmp_path / "runs").glob("*nvil*")) / "seed-0"
    (folder / "result.json").unlink()
    (folder / "checkpoint.safetensors").write_bytes(b"\x80\x04")
    args = [*TINY, f"run.results={tmp_path / 'runs'}"]
    code, _, err = vaebench("run", *args).wait()
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("vaebench: ")]
    assert f"seed 0 failed: {folder / 'checkpoint.safetensors'}: not a usable checkpoint" in line
    assert line.endswith("vaebench run --force starts anew")
    assert (folder / "checkpoint.safetensors").read_bytes() == b"\x80\x04"
    code, _, err = vaebench("run", *args, "--only", "column=NVIL", "--seeds", "0", "--force").wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


# ------------------------------------------------------------------------------------- skipping, adding, sharing


def times(root):
    return {p: p.stat().st_mtime_ns for p in root.rglob("*.*") if p.is_file() and p.name != ".lock"}


def test_what_is_finished_is_skipped_and_new_evaluations_need_no_training(vaebench, whole, tmp_path, log):
    root = tmp_path / "runs"
    shutil.copytree(whole[0], root)
    before = times(root)
    args = [*TINY, f"run.results={root}"]
    code, out, err = vaebench("run", *args, code=log[0]).wait()
    assert (code, out, err) == (0, whole[2], "")
    assert times(root) == before
    code, _, err = vaebench("run", *args, "eval.iw_samples=20", code=log[0]).wait()
    assert code == 0, err
    assert [line.split()[0] for line in log[1]()] == ["evaluate"] * 4
    after = times(root)
    assert {p: t for p, t in after.items() if p.suffix == ".safetensors"} == {
        p: t for p, t in before.items() if p.suffix == ".safetensors"
    }
    for path in root.glob("*/seed-*/result.json"):
        found = [m["samples"] for m in json.loads(path.read_text())["measures"] if m["name"] == "iw_nll"]
        assert sorted(found) == [10, 20]


def test_a_larger_budget_goes_on_from_the_smaller_one(vaebench, results, whole, expected, states_of, tmp_path, log):
    args = [*TINY, results, "--only", "column=NVIL"]
    assert vaebench("run", *args, "train.updates=80").wait()[0] == 0
    code, _, err = vaebench("run", *args, code=log[0]).wait()
    assert code == 0, err
    assert [line.split()[3] for line in log[1]() if line.startswith("train")] == ["80", "80"]
    states = states_of(tmp_path / "runs")
    assert len(states) == 4, "the smaller run's folders stay"
    assert {k: v for k, v in states.items() if k in expected} == {k: v for k, v in expected.items() if "nvil" in k[0]}


def test_tables_that_share_runs_train_them_once(vaebench, whole, tmp_path, log):
    """Both tables in one command; of the second table's cells one is the first's, and is evaluated otherwise."""
    code = log[0] + MORE_SAMPLES
    root = tmp_path / "runs"
    args = ["table=nvil_mnist,nvil_autoreg,more_samples", *TINY[1:], f"run.results={root}", "--seeds", "0"]
    shown = vaebench("run", *args, "--dry-run", code=code).wait()[1]
    assert shown.count("1 new") == 6
    assert shown.endswith("to do: 3 runs of unknown cost (nothing like them is recorded)\n")
    assert not root.exists()
    rc, out, err = vaebench("run", *args, code=code).wait()
    assert rc == 0, err
    lines = log[1]()
    assert len([line for line in lines if line.startswith("train")]) == 3
    assert sorted(line for line in lines if line.startswith("evaluate")) == sorted(
        ["evaluate nvil 0 10", "evaluate nvil 0 7"] * 2 + ["evaluate wake_sleep 0 10"]
    )
    assert out.count("Table 1") == 1
    assert out.count("Table 2") == 2
    rc, again, err = vaebench("run", *args, code=code).wait()
    assert (rc, again, err) == (0, out, ""), "one command was enough"
    assert log[1]() == lines
    assert vaebench("run", *args, "--force", code=code).wait()[0] == 0
    assert sorted(log[1]()) == sorted(lines * 2), "thrown away and trained once, not once for each table"


# ------------------------------------------------------------------------------------------- words, and their places


def test_a_dry_run_writes_nothing_and_tells_what_is_left(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(noise, "BLOCK", 40)
    assert main(["run", *TINY, f"run.results={tmp_path / 'none'}", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert not (tmp_path / "none").exists()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["nvil_mnist", "preset=quick"]
    assert lines[2] == ["SBN", "200", "NVIL", "0,1", "2", "new", "120", "?"]
    assert lines[3] == ["SBN", "200", "WS", "0,1", "2", "new", "120", "?"]
    assert out.endswith("to do: 4 runs of unknown cost (nothing like them is recorded)\n")
    assert err == ""

    root = tmp_path / "runs"
    shutil.copytree(whole[0], root)
    before = times(root)
    for path in root.glob("*/seed-*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "seconds": 50.0, "eval_seconds": 0.0}))
    ws = next(root.glob("*wake_sleep*"))
    shutil.rmtree(ws / "seed-1")
    (ws / "seed-2").mkdir()
    (ws / "seed-2" / "checkpoint.safetensors").touch()
    (ws / "seed-2" / "curve.csv").write_text("update,seconds\n40,9\n")
    assert main(["run", *TINY, f"run.results={root}", "--dry-run", "--seeds", "0-2"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert lines[2] == ["SBN", "200", "NVIL", "0,1,2", "2", "done,", "1", "new", "120", "50", "s"]
    assert lines[3] == ["SBN", "200", "WS", "0,1,2", "1", "done,", "1", "new,", "1", "partial", "120", "50", "s"]
    # a new NVIL run, a new one of WS, and two thirds of the third
    assert out.endswith("to do: about 2.2 min of one process for 3 runs\n")
    assert main(["run", *TINY, f"run.results={root}", "--dry-run", "--seeds", "0", "--force"]) == 0
    assert capsys.readouterr().out.endswith("to do: about 1.7 min of one process for 2 runs\n")
    assert main(["run", *TINY, f"run.results={root}", "--dry-run", "--seeds", "0"]) == 0
    assert capsys.readouterr().out.endswith("to do: nothing\n")
    assert main(["run", *TINY, f"run.results={root}", "--dry-run", "--seeds", "0", "eval.iw_samples=11"]) == 0
    assert capsys.readouterr().out.endswith("to do: the evaluation of 2 trained runs (of unknown cost)\n")
    shutil.rmtree(ws)
    assert main(["run", *TINY, f"run.results={root}", "--dry-run", "--seeds", "0-2", "eval.iw_samples=11"]) == 0
    assert capsys.readouterr().out.endswith(
        "to do: about 50 s of one process for 1 run, and 3 runs of unknown cost (nothing like them is recorded),"
        " and the evaluation of 2 trained runs (of unknown cost)\n"
    )
    assert set(times(root)) - {ws / "seed-2" / "checkpoint.safetensors", ws / "seed-2" / "curve.csv"} <= set(before)


def refused(capsys, folder, says):
    """One clear line on stderr that has the words, and nothing written."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vaebench: ")
    assert says in err
    assert err.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("table", "wrong", "says"),
    [
        ("dvae_sharp_sharp_main", "objective.beta=-1", "MNIST 100+100 K=1 / DVAE##: objective.beta=-1"),
        (
            "dvae_sharp_sharp_main",
            "objective.prior_chains=0",
            "objective.prior_chains=0: must be a whole number from 1",
        ),
        ("dvae_pp_rbm", "model.latents=7", "model.latents=7: must be a whole number of bits that groups=2 divides"),
        ("dvae_pp_smoothing,dvae_pp_rbm", "optim.epsilon=-1", "optim.epsilon=-1.0: must be a positive number"),
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
    """Before the first cell is trained, a figure drawn or data read; in a dry run too."""
    monkeypatch.setattr(data, "load", None)
    assert main(["run", f"table={table}", wrong, f"run.results={tmp_path}/runs", *more]) == 2
    refused(capsys, tmp_path, says)


PLACES = {
    "run.device=cuda:7": "run.device=cuda:7: this machine has 0 CUDA devices",
    "data.held_out=1497": "data.held_out=1497: allowed: null, or a whole number from 1 to 1496",
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
    assert main(["run", *TINY, f"run.results={tmp_path}/runs", override, *more]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert PLACES[override] in err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_reads_no_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    assert main(["run", *TINY, f"run.results={tmp_path}/runs", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_table_goes_to_stdout_and_all_else_to_stderr(whole):
    _, _, out, err = whole
    assert out.startswith("Belief nets on binarized MNIST")
    assert "[1/2]" not in out
    lines = err.splitlines()
    assert len(lines) == 4, "a line when a cell begins and one when it ends, and no bar where there is no terminal"
    assert lines[0] == "SBN 200 / NVIL seeds 0,1: training, update 0 of 120"
    assert lines[1].startswith("[1/2] nvil_mnist: SBN 200 / NVIL: done (seeds 0,1) bound ")
    assert lines[2] == "SBN 200 / WS seeds 0,1: training, update 0 of 120"
    assert lines[3].startswith("[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1) bound ")
    assert not {"\r", "\x1b", "|"} & set(out + err)


class Terminal:
    """A pseudo-terminal whose other side is read until it closes."""

    def __init__(self):
        self.master, slave = pty.openpty()
        self.name, self.shown, self._slave = os.ttyname(slave), "", slave
        termios.tcsetwinsize(slave, (24, 120))

    def read(self):
        os.set_blocking(self.master, False)
        try:
            while data := os.read(self.master, 65536):
                self.shown += data.decode()
        except OSError:
            pass
        return self.shown

    def type(self, text):
        os.write(self.master, text)

    def close(self):
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_on_a_terminal_there_is_one_bar_and_it_goes(vaebench, terminal, results):
    command = vaebench("run", *TINY, results, tty=terminal.name)
    while command.running():
        terminal.read()
    code, out, _ = command.wait()
    assert code == 0
    shown = terminal.read()
    assert "updates/s" in shown
    assert re.search(r"SBN 200 / NVIL seeds 0,1 valid_bound \d", shown)
    assert "\x1b[A" not in shown, "one bar: the cursor never has to go up"
    assert "[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1)" in shown
    assert shown.rpartition("\r")[2].strip() == "", "nothing is left of it"
    assert "\r" not in out


def test_ctrl_c_on_a_terminal(vaebench, terminal, results, until, tmp_path):
    command = vaebench("run", *TINY, results, tty=terminal.name, code=HOLD.format(until=False, seconds=2))
    until(lambda: len(checkpoints(tmp_path)) == 2)
    terminal.type(b"\x03")
    while command.running():
        terminal.read()
    code, _, _ = command.wait()
    assert code == 130
    shown = terminal.read()
    assert "vaebench: saving the state and stopping; once more to end at once\r\n" in shown
    assert shown.endswith("vaebench: interrupted; the state is saved, the same command goes on from here\r\n")
    assert "Traceback" not in shown


def test_it_runs_as_a_module_in_a_fresh_interpreter(results, tmp_path):
    """The one test that pays for its own imports."""
    env = {**os.environ, "PYTHONPATH": str(Path(config.__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    env["VAEBENCH_DATA"] = str(tmp_path / "data")
    command = [sys.executable, "-m", "vaebench", "run", *TINY, results, "--only", "column=NVIL"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Belief nets on binarized MNIST")
    assert len(ended.stderr.splitlines()) == 2


def test_a_run_that_diverges_as_the_papers_did_is_no_failure(tmp_path, capsys):
    """And one that the paper's did not is."""
    steep = ["optim.posterior_rate=1e12", "optim.clip=null", "run.jobs=1", f"run.results={tmp_path}", "--seeds", "0"]
    for row, code in (("50x", 0), ("4x", 1)):
        assert main(["run", "table=lagging_rates", "preset=quick", "--only", f"row={row}", *steep]) == code
        said = capsys.readouterr()
        assert "diverged" in said.out
        assert ("vaebench: lagging_rates" in said.err) == bool(code)
