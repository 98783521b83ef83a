"""Quantities, lists and errors as they are shown to people."""

from __future__ import annotations

import pytest

from vaebench.formatting import counted, duration, first_line, listed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (42, "42 s"),
        (210, "3.5 min"),
        (7560, "2.1 h"),
        (90000, "25.0 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_counts_have_their_plural():
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_narrow_list():
    rows = [("NAME", "ABOUT"), ("a", "one two three four"), ("b", "-")]
    assert (
        listed(rows, None) == listed(rows, 80) == "NAME  ABOUT\na     one two three four\nb     -"
    )
    assert listed(rows, 20) == "NAME\na\n    one two three\n      four\nb"

    # The second column goes on below itself if it has room, else indented below the first.
    long = [("NAME", "ABOUT"), ("a", "word " * 12)]
    assert listed(long, 40).splitlines()[1:] == [
        f"a     {'word ' * 6}word",
        f"      {'word ' * 4}word",
    ]


def test_an_error_in_a_line():
    assert first_line(ValueError("no\nsuch luck")) == "no"
    assert first_line(ValueError()) == "ValueError"
