"""Loops that can be stopped between two steps: which state is kept, and what is reported while
they run."""

from __future__ import annotations

import pytest
from kit.stopping import Stopping

from vaebench.errors import Interrupted
from vaebench.work import steps
from vaebench.work.steps import Box, Work, tick


def summed(box: Box, total: int, inside: int = 0) -> float:
    """A loop with an inner loop of ``inside`` steps. An inner loop without state begins anew."""
    for i in steps.steps("numbers", total, box):
        part = float(i)
        for j in steps.steps("inner", inside):
            part += j / 7
        tick()
        box.value = box.value * 1.1 + part

    return box.value


def test_loops_outside_of_any_work_are_plain_loops():
    assert list(steps.steps("numbers", 3)) == [0, 1, 2]
    tick()


def test_what_is_kept_in_the_middle_of_a_step_is_the_state_before_it():
    whole = summed(Box(value=0.0), 5, 3)

    kept = []
    # A step of the outer loop asks five times: before it, before each of three inner steps, and by
    # its tick. So the eighth question comes before inner step 1 of step 1.
    stop = Stopping(8)

    with (
        pytest.raises(Interrupted, match=r"stopped at numbers 1/5, inner 1/3"),
        Work(stop, keep=lambda loops, seconds: kept.extend(loops)),
    ):
        summed(Box(value=0.0), 5, 3)

    # The state after step 0, which added (0 + 1 + 2) / 7. The inner loop has no state.
    (loop,) = kept
    assert (loop.path, loop.at, loop.total, loop.state) == (
        "/0:numbers",
        1,
        5,
        {"value": 1.0 / 7 + 2.0 / 7},
    )

    with Work(kept=kept):
        assert summed(Box(value=0.0), 5, 3) == whole

    longer = summed(Box(value=0.0), 6, 3)
    with Work(kept=kept):
        assert summed(Box(value=0.0), 6, 3) == longer, "another loop begins anew"


def test_loops_of_one_name_are_told_apart():
    def job():
        return [summed(Box(value=float(i)), 4) for i in range(3)]

    # Each of 12 steps asks twice: before it and by its tick.
    for at in range(1, 25):
        kept = []

        with (
            pytest.raises(Interrupted),
            Work(Stopping(at), keep=lambda loops, seconds, kept=kept: kept.extend(loops)),
        ):
            job()

        with Work(kept=kept):
            assert job() == [summed(Box(value=float(i)), 4) for i in range(3)], at


def test_patience_lets_what_ends_soon_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: clock[0])
    stop = Stopping()

    # Asked from 1 s on, so before steps 3, 4 and 5: the clock then shows 1, 1.5 and 2 s.
    with Work(stop, patience=1.0):
        for i in steps.steps("numbers", 6):
            clock[0] = i / 2

    assert stop.count == 3


def test_it_keeps_every_minute_and_tells_counts_and_the_time_left(monkeypatch):
    clock = [0.0]
    kept = []
    reports = []
    monkeypatch.setattr(steps.time, "monotonic", lambda: clock[0])

    with Work(
        keep=lambda loops, seconds: kept.append((loops[0].at, seconds)),
        spent=5.0,
        tell=reports.append,
    ):
        # 800 steps of a quarter of a second. A state is kept when more than 60 s have passed, and
        # every half second brings a report.
        for i in steps.steps("numbers", 800, Box(value=0)):
            clock[0] = (i + 1) * 0.25

    # The seconds include the 5 s that the earlier block had spent.
    assert kept == [(241, 65.25), (482, 125.5), (723, 185.75)]
    assert reports[0] == "numbers 0/800"
    assert reports[1] == "numbers 2/800, 3.3 min left"
    assert reports[-1] == "numbers 798/800, 0.5 s left"
