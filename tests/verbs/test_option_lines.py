"""Every option whose value is checked: what is refused, in one line, and what is taken."""

from __future__ import annotations

import importlib
from argparse import ArgumentParser
from pathlib import Path

import pytest

from vaebench.cli import VERBS, main

WHOLE = "a whole number from"
LARGEST = "9,223,372,036,854,775,807"

LINES = {
    ("run", "--minutes"): (
        "a number above 0 and below 1,000,000",
        ["0", "-1", "nan", "inf", "1e6", "soon", ""],
    ),
    ("compare", "--tol"): ("a number of nats from 0", ["-0.1", "nan", "inf", "x"]),
    ("bench", "--seconds"): ("a finite number above 0", ["0", "-1", "nan", "inf", "x", ""]),
    ("bench", "--pack"): (f"{WHOLE} 1 to 10,000", ["0", "2.5", "999999999", "x", "1e400"]),
    ("sample", "--number"): (f"{WHOLE} 1 to 1,000,000", ["0", "-1", "1000001", "2.5", "x"]),
    ("sample", "--traverse"): (f"{WHOLE} 1 to 100", ["0", "101", "x"]),
    ("sample", "--steps"): (f"{WHOLE} 2 to 100", ["1", "101", "x"]),
    ("sample", "--around"): (f"{WHOLE} 0 to 1,000,000,000", ["-1", "0.5", "x"]),
    ("reconstruct", "--test"): (f"{WHOLE} 1 to 1,000,000,000", ["0", "x"]),
    ("reconstruct", "--path"): (f"{WHOLE} 2 to 1,000,000,000", ["1", "x"]),
    ("reconstruct", "--code"): ("mean or sample", ["mode", "", "1"]),
    ("reconstruct", "--impute"): (
        "square or a number above 0 and below 1",
        ["0", "1", "nan", "circle"],
    ),
}
"""Verb and option: what the line says is allowed, and values that are refused."""

for verb in ("sample", "reconstruct"):
    LINES[verb, "--seed"] = (f"{WHOLE} 0 to {LARGEST}", ["-1", "9223372036854775808", "x"])
    LINES[verb, "--width"] = (f"{WHOLE} 1 to 1,000", ["0", "1001", "x"])
    LINES[verb, "--longest"] = (f"{WHOLE} 1 to 100,000", ["0", "100001", "x"])

TAKEN = [
    *(
        ("run", "--minutes", "90", 90),
        ("run", "--minutes", "0.5", 0.5),
        ("compare", "--tol", "0", 0),
    ),
    *(("bench", "--pack", "1e3", 1000), ("sample", "--seed", "9223372036854775807", 2**63 - 1)),
    *(("reconstruct", "--impute", "square", "square"), ("reconstruct", "--impute", ".25", 0.25)),
    *(("sample", "--around", "0", 0), ("reconstruct", "--code", "mean", "mean")),
]
REQUIRED = {
    "run": [],
    "compare": ["a.csv", "b.csv"],
    "bench": [],
    "sample": ["RUN"],
    "reconstruct": ["RUN"],
}


def parser_of(verb):
    parser = ArgumentParser()
    importlib.import_module(f"vaebench.verbs.{verb}").configure(parser)
    return parser


@pytest.mark.parametrize(("verb", "option"), LINES, ids=lambda name: name)
def test_what_is_not_allowed_is_one_line(verb, option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    allowed, refused = LINES[verb, option]

    for value in refused:
        assert main([verb, *REQUIRED[verb], f"{option}={value}"]) == 2
        shown = value or "''"
        assert capsys.readouterr() == ("", f"vaebench: {option} {shown}: allowed: {allowed}\n")

    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("verb", "option", "text", "value"), TAKEN)
def test_what_is_allowed_is_taken_exactly(verb, option, text, value):
    args = parser_of(verb).parse_intermixed_args([*REQUIRED[verb], option, text])

    taken = getattr(args, option.removeprefix("--"))

    assert taken == value
    # The word stays text, and every number is one.
    assert isinstance(taken, str) == isinstance(value, str)


def test_every_such_option_is_held_above():
    """No option reads its value by ``int`` or ``float`` alone, because argparse's own message does
    not say what is allowed."""
    options = {
        (verb, option)
        for verb in VERBS
        for action in parser_of(verb)._actions
        for option in action.option_strings
        if action.type not in (None, Path)
    }

    assert options == set(LINES)
