"""``vaebench run`` that is killed, interrupted or out of time: the same command goes on as if
nothing had been."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time

import pytest
from kit.snippets import HOLD, SPOKEN, TWO_CELLS, checkpoints

from vaebench.cli import main

SEEN = """
import pathlib, vaebench.training.bookkeeping as t, vaebench.training.engines as f
t.SAVE_SECONDS = 0.0
real = f.Pack.advance
def advance(self, *a):
    pathlib.Path({mark!r}).touch()
    return real(self, *a)
f.Pack.advance = advance
"""
"""Code for a command: it saves after every step, and a file shows that it has begun to train."""


def killed_at_random(vaebench, args, kills, rng, seconds, mark):
    """Start a command ``kills`` times and kill it at a random moment of its training each time.

    All kills together let it train for at most ``seconds``, so that it cannot come to its end if
    it needs more. Two of three kills must find it at work, in case the machine was slower when
    ``seconds`` were taken.
    """
    kills_at_work = 0
    code = SEEN.format(mark=str(mark))

    for _ in range(kills):
        mark.unlink(missing_ok=True)
        command = vaebench("run", *args, code=code, child=code)

        while command.running() and not mark.exists():
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 1.0) * seconds / kills)
        kills_at_work += command.running()

        with contextlib.suppress(ProcessLookupError):
            command.signal_all(signal.SIGKILL)
        command.wait()

    assert kills_at_work >= 2 * kills / 3


def test_a_command_killed_at_random_moments_ends_as_if_nothing_had_been(
    vaebench, results, whole, expected, states_of, tmp_path
):
    # About half the time of so short a command passes before and after its training.
    killed_at_random(
        vaebench, [*TWO_CELLS, results], 3, random.Random(0), whole[1] / 2, tmp_path / "mark"
    )
    assert checkpoints(tmp_path), "something had been trained"

    code, _, err = vaebench("run", *TWO_CELLS, results).wait()
    assert code == 0, err
    assert states_of(tmp_path / "runs") == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "more", [[], ["train.order=shuffle", "train.valid_every=70"], ["run.jobs=2"]], ids=str
)
def test_twenty_kills(vaebench, results, states_of, tmp_path, more):
    args = [*TWO_CELLS, "train.updates=3000", *more]

    began = time.monotonic()
    assert vaebench("run", *args, f"run.results={tmp_path / 'whole'}").wait()[0] == 0
    seconds = time.monotonic() - began

    killed_at_random(vaebench, [*args, results], 20, random.Random(1), seconds, tmp_path / "mark")
    assert checkpoints(tmp_path), "something had been trained"

    assert vaebench("run", *args, results).wait(300)[0] == 0
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_so_and_the_same_command_goes_on(
    vaebench, results, until, expected, states_of, tmp_path, log, number
):
    command = vaebench("run", *TWO_CELLS, results, code=HOLD.format(until=SPOKEN, seconds=60))
    until(lambda: len(checkpoints(tmp_path)) == 2)

    command.signal_all(number)
    code, out, err = command.wait()

    assert code == 130
    lines = err.splitlines()
    assert lines[0] == "SBN 200 / NVIL seeds 0,1: training, update 0 of 120"
    assert lines[1] == "vaebench: saving the state and stopping; once more to end at once"
    assert (
        lines[-1] == "vaebench: interrupted; the state is saved, the same command goes on from here"
    )

    assert "Traceback" not in err
    assert "not run" in out, "the table as far as it goes"
    assert command.survivors() == []

    code, _, err = vaebench("run", *TWO_CELLS, results, code=log[0]).wait()
    assert code == 0, err
    # A line is: train, name of the run, seed, update.
    trained = [line.split() for line in log[1]() if line.startswith("train")]
    assert [int(fields[3]) > 0 for fields in trained] == [True, True, False, False], (
        "NVIL went on, WS began"
    )
    assert states_of(tmp_path / "runs") == expected


def test_a_second_ctrl_c_ends_at_once(vaebench, results, until, tmp_path):
    # Longer than any wait here, however busy the machine.
    deaf = HOLD.format(until=False, seconds=300)
    command = vaebench("run", *TWO_CELLS, results, code=deaf)
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
def test_several_jobs_stop_together_and_leave_no_orphans(
    vaebench, results, until, states_of, tmp_path
):
    """First it is interrupted as by a terminal while its children start, then killed outright, then
    stopped by SIGTERM; at last it finishes."""
    # So that no process ends its training before it is told to stop.
    longer = [*TWO_CELLS, "train.updates=2000"]
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

    # Its children wait for ``go``. Then they find that their parent is gone.
    second.signal(signal.SIGKILL)
    until(lambda: not second.running())
    go.touch()
    until(lambda: second.survivors() == [])

    begun = r"SBN 200 / (NVIL|WS) seeds 0,1: training, update [0-9,]+ of 2,000"
    assert all(re.fullmatch(begun, line) for line in second.err.splitlines()), (
        "they say nothing of their end"
    )
    assert list((tmp_path / "runs").glob("*/*/result.json")) == [], (
        "they stopped, and did not go on to the end"
    )

    go.unlink()

    before = [path.stat().st_mtime_ns for path in sorted(checkpoints(tmp_path))]
    third = vaebench("run", *jobs, child=hold)
    # Every checkpoint has been written once more, so both children are at work.
    until(
        lambda: all(
            path.stat().st_mtime_ns > written_before
            for path, written_before in zip(sorted(checkpoints(tmp_path)), before, strict=True)
        )
    )

    third.signal_all(signal.SIGTERM)
    until(lambda: "once more to end at once" in third.err)
    go.touch()
    code, _, err = third.wait()
    assert code == 130
    assert (
        err.splitlines()[-1]
        == "vaebench: interrupted; the state is saved, the same command goes on from here"
    )
    assert "Traceback" not in err
    until(lambda: third.survivors() == [])

    code, _, err = vaebench("run", *longer, results).wait()
    assert code == 0, err
    assert vaebench("run", *longer, f"run.results={tmp_path / 'whole'}").wait()[0] == 0
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_a_command_whose_time_is_over_saves_and_the_same_command_goes_on(
    vaebench, results, expected, states_of, tmp_path
):
    slow = HOLD.format(until=False, seconds=3)

    code, out, err = vaebench("run", *TWO_CELLS, results, "--minutes", "0.03", code=slow).wait()

    assert code == 0, err
    assert (
        "0.03 minutes are over, the state is saved: 4 of 4 runs left; the same "
        "command goes on from here"
    ) in err
    assert "SBN 200" in out, "the table as far as it goes"

    code, _, err = vaebench("run", *TWO_CELLS, results, "--minutes", "90").wait()
    assert (code, "over" in err) == (0, False), err
    assert states_of(tmp_path / "runs") == expected


def test_no_time_is_over_where_nothing_is_left(whole, capsys):
    assert main(["run", *TWO_CELLS, f"run.results={whole[0]}", "--minutes", "0.000001"]) == 0
    assert "over" not in capsys.readouterr().err
