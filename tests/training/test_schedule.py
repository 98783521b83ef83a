"""The plan of a training: every update once, nothing due within a stretch, and the
same plan from anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebench.training.schedule import schedule

PLANS = st.tuples(
    st.integers(0, 50),  # first
    st.integers(1, 120),  # updates
    st.integers(1, 40),  # block
    st.integers(1, 60),  # valid_every
    st.lists(st.integers(0, 130), max_size=3),  # snapshots
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(PLANS)
def test_every_update_is_made_once_and_whatever_is_due_ends_a_stretch(plan):
    first, updates, block, every, wanted = plan
    made = []

    for s in schedule(first, updates, block, every, wanted):
        made += range(s.first, s.end)
        assert s.length > 0
        assert s.block * block + s.offset == s.first
        assert s.offset + s.length <= block

        due = {
            n
            for n in range(s.first + 1, s.end + 1)
            if n % every == 0 or n == updates or n in wanted
        }

        assert due <= {s.end}
        assert s.validate == (s.end % every == 0 or s.end == updates)
        assert s.snapshot == (s.end in wanted)

    assert made == list(range(first, updates))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(PLANS, st.integers(0, 10))
def test_a_plan_goes_on_from_the_end_of_any_stretch(plan, number):
    first, *rest = plan
    whole = list(schedule(first, *rest))
    later = whole[number:]
    if later:
        assert list(schedule(later[0].first, *rest)) == later


def test_an_example():
    found = [
        (s.first, s.length, s.block, s.offset, s.snapshot, s.validate)
        for s in schedule(0, 25, 10, 12, [4])
    ]
    assert found == [
        (0, 4, 0, 0, True, False),
        (4, 6, 0, 4, False, False),
        (10, 2, 1, 0, False, True),
        (12, 8, 1, 2, False, False),
        (20, 4, 2, 0, False, True),
        (24, 1, 2, 4, False, True),
    ]


@pytest.mark.parametrize("first", [0, 3])
def test_one_by_one_every_update_is_a_stretch(first):
    found = list(schedule(first, 7, 5, 2, one_by_one=True))
    assert [s.first for s in found] == list(range(first, 7))
    assert {s.length for s in found} == {1}
    assert [s.end for s in found if s.validate] == [n for n in (2, 4, 6, 7) if n > first]
