"""Tasks one after the other in this process: signals, the end of the time, failing fast."""

from __future__ import annotations

import os
import signal
import time

import pytest

from vaebench.errors import UserError
from vaebench.results.status import Status
from vaebench.running.launchers import choose, inline, stop
from vaebench.running.tasks import Outcome, Task
from vaebench.settings.records import RunSettings


@pytest.fixture
def works(monkeypatch, make_cell):
    """Function that makes a task of each action: (tasks, numbers of those that were begun).

    An action is the status with which its task ends, or a function of ``should_stop`` that returns
    it. Tasks are told apart by their number of updates: 1 for the first.
    """

    def make(*actions):
        begun = []

        def work(task, say, should_stop):
            number = task.cell.config["train"]["updates"]
            begun.append(number)
            action = actions[number - 1]
            status = action(should_stop) if callable(action) else action

            return [Outcome(task, s, Status(status)) for s in task.seeds]

        # Nothing is trained: the launcher calls this in the place of ``work``.
        monkeypatch.setattr(inline, "work", work)
        return [Task(make_cell({"train.updates": n + 1}), (0,)) for n in range(len(actions))], begun

    return make


@pytest.mark.parametrize("bad", ["failed", "diverged"])
def test_after_a_failure_all_others_are_begun_unless_asked_not_to(works, run_all, bad):
    for fail_fast, expected in ((False, [1, 2, 3]), (True, [1, 2])):
        tasks, begun = works("done", bad, "done")
        outcomes, stopped = run_all(tasks, 1, fail_fast)
        assert begun == expected
        assert [o.status for o in outcomes] == ["done", bad, "done"][: len(expected)]
        assert not stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_task_save_and_begins_no_other(works, run_all, number, capfd):
    def interrupted(should_stop):
        assert not should_stop()

        os.kill(os.getpid(), number)
        assert should_stop()

        return "interrupted"

    before = [signal.getsignal(n) for n in stop.SIGNALS]
    tasks, begun = works("done", interrupted, "done")
    outcomes, stopped = run_all(tasks, 1)

    assert stopped
    assert begun == [1, 2]
    assert [o.status for o in outcomes] == ["done", "interrupted"]
    assert [signal.getsignal(n) for n in stop.SIGNALS] == before
    assert capfd.readouterr().err == stop.STOPPING


def test_the_second_signal_ends_at_once(works, run_all):
    def deaf(should_stop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    before = signal.getsignal(signal.SIGINT)
    tasks, _ = works(deaf, "done")

    with pytest.raises(KeyboardInterrupt):
        run_all(tasks, 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_when_the_time_is_over_the_task_saves_and_no_other_begins(works, said, capfd):
    def interrupted(should_stop):
        while not should_stop():
            time.sleep(0.01)
        return "interrupted"

    tasks, begun = works("done", interrupted, "done")

    # Long enough for the first task, which is done at once.
    launched = choose(RunSettings(), 1, 3, until=time.monotonic() + 0.2).launch(tasks, said.append)

    assert (launched.stopped, launched.late) == (False, True)
    assert begun == [1, 2]
    assert [o.status for o in launched.outcomes] == ["done", "interrupted"]
    assert capfd.readouterr().err == stop.LATE, "once"


def test_the_first_signal_after_the_time_is_over_ends_nothing_at_once():
    should_stop = stop.Stop(until=time.monotonic() - 1)
    with should_stop.on_signals():
        assert should_stop()
        os.kill(os.getpid(), signal.SIGINT)

    # A second signal would raise KeyboardInterrupt. This one is the first, whatever stopped the
    # work.
    assert (should_stop.late, should_stop.asked) == (True, True)


@pytest.mark.parametrize(("launcher", "word"), [("slurm", "run.time_limit"), ("ray", "to its end")])
def test_jobs_elsewhere_take_no_time_from_the_command(launcher, word):
    with pytest.raises(UserError, match=word):
        choose(RunSettings(launcher=launcher), 1, 1, until=time.monotonic() + 60)
