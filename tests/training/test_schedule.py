"""The plan of a training.

Every update is made once, nothing is due within a stretch, and the plan is the same from anywhere.
"""

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
    first, updates, block, valid_every, snapshots = plan
    updates_made = []

    for stretch in schedule(first, updates, block, valid_every, snapshots):
        updates_made += range(stretch.first, stretch.end)
        assert stretch.length > 0

        # A stretch is within one block.
        assert stretch.block * block + stretch.offset == stretch.first
        assert stretch.offset + stretch.length <= block

        # Updates after which there is a validation, a snapshot or the end of the budget.
        due = {
            n
            for n in range(stretch.first + 1, stretch.end + 1)
            if n % valid_every == 0 or n == updates or n in snapshots
        }

        assert due <= {stretch.end}
        assert stretch.validate == (stretch.end % valid_every == 0 or stretch.end == updates)
        assert stretch.snapshot == (stretch.end in snapshots)

    assert updates_made == list(range(first, updates))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(PLANS, st.integers(0, 10))
def test_a_plan_goes_on_from_the_end_of_any_stretch(plan, number):
    first, *rest = plan
    whole_plan = list(schedule(first, *rest))
    rest_of_plan = whole_plan[number:]

    if rest_of_plan:
        assert list(schedule(rest_of_plan[0].first, *rest)) == rest_of_plan


def test_an_example():
    # Blocks of 10, validations every 12, a snapshot after 4: (first, length, block, offset, ...).
    stretches = [
        (s.first, s.length, s.block, s.offset, s.snapshot, s.validate)
        for s in schedule(0, 25, 10, 12, [4])
    ]
    assert stretches == [
        (0, 4, 0, 0, True, False),
        (4, 6, 0, 4, False, False),
        (10, 2, 1, 0, False, True),
        (12, 8, 1, 2, False, False),
        (20, 4, 2, 0, False, True),
        (24, 1, 2, 4, False, True),
    ]


@pytest.mark.parametrize("first", [0, 3])
def test_one_by_one_every_update_is_a_stretch(first):
    stretches = list(schedule(first, 7, 5, 2, one_by_one=True))

    assert [s.first for s in stretches] == list(range(first, 7))
    assert {s.length for s in stretches} == {1}
    assert [s.end for s in stretches if s.validate] == [n for n in (2, 4, 6, 7) if n > first]
