"""A report on a terminal has colours and curves, a file or a pipe has neither; brief reports."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from kit.repository import REFERENCE
from kit.runs import TINY

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.report import Look, colours, recorded, text, written
from vaebench.report.page import Grid, Page
from vaebench.report.trails import Trail, drawn, stored

SHORT = str(REFERENCE / "nvil_mnist-short.csv")
REPORT = ["report", "table=nvil_mnist", "--from", SHORT]
CODE = re.compile("\033\\[[0-9;]*m")
CURVE = re.compile("[▁▂▃▄▅▆▇█]+")


def rows(report: str) -> list[list[str]]:
    """The words of each row of belief nets."""
    return [line.split() for line in report.splitlines() if line.startswith(("SBN ", "fDARN "))]


def on_a_terminal(*args, **environment):
    """Return what a command writes to a terminal of 300 columns, and its exit code."""
    # A pseudo-terminal: the command writes to one end, and the test reads the other.
    our_end, its_end = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "300", "PYTHONUTF8": "1", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "vaebench", *args],
        stdin=subprocess.DEVNULL,
        stdout=its_end,
        stderr=subprocess.PIPE,
        env=env,
    )
    # Only the command holds its end now, so reading ends when it does.
    os.close(its_end)
    chunks = []
    while True:
        try:
            chunk = os.read(our_end, 65536)
        except OSError:  # the end, as Linux has it
            break

        if not chunk:
            break

        chunks.append(chunk)

    os.close(our_end)
    process.communicate()
    return b"".join(chunks).decode().replace("\r\n", "\n"), process.returncode


# ------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ((), ""),
        ((7.0,), "▁"),
        ((7.0, 7.0, 7.0), "▁▁▁"),
        ((8.0, 1.0), "█▁"),
        ((1.0, 8.0), "▁█"),
        # The scale ends at the upper quartile, so the first bound does not make the rest flat.
        ((900.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0), "███▇▆▅▃▂▁"),
        ((5.0, float("nan"), 1.0), "█▁"),
        ((4.0, 3.0, 2.0, 1.0, 2.0, 3.0, 9.0), "█▆▃▁▃▆█"),  # and a rise at the end is seen
    ],
)
def test_a_curve_in_characters(bounds, shown):
    assert drawn(Trail(bounds)) == shown


def test_a_long_curve_is_a_mean_of_equal_parts():
    bounds = tuple(float(v) for v in range(1200, 0, -1))
    assert len(drawn(Trail(bounds))) == 12
    # Twelve parts of 100 bounds: the mean of 1200 to 1101 is 1150.5, and so on.
    assert drawn(Trail(bounds)) == drawn(Trail(tuple(1200 - 100 * i - 49.5 for i in range(12))))


def test_how_far_a_run_is_stands_beside_its_curve():
    assert drawn(Trail((2.0, 1.0), 0.459)) == "█▁ 45 %"
    assert drawn(Trail((2.0, 1.0), 1.0)) == "█▁"
    assert drawn(Trail((float("nan"),), 0.5)) == "50 %"


def test_the_share_of_a_budget_in_passes_is_counted_in_validations(make_cell, store):
    """Three validations, one after every two passes, are six of ten passes. If the budget is in
    updates, the update of the last validation says how far the run is."""
    curve = "update,valid_bound,unit\n70,9,nats\n140,8,nats\n210,7,nats\n"
    for settings, share in (
        ({"train.unit": "epochs", "train.updates": 10, "train.valid_every": 2}, 0.6),
        ({"train.updates": 560, "train.valid_every": 70}, 0.375),
    ):
        cell = make_cell(settings)
        folder = store.run_dir(cell.key, 0)
        folder.mkdir(parents=True)
        (folder / "curve.csv").write_text(curve)

        assert stored(store, [cell], [0])[cell.key] == Trail((9.0, 8.0, 7.0), share)


# ------------------------------------------------------------------------------------------ colours

PAGE = Page(
    "A table",
    Grid(
        headers=("row", "ours", "verdict", "notes"),
        lines=(
            ("a", "1.0", "yes, tuned", ""),
            ("b", "2.0!", "no", "1 failed [1]"),
            ("c no", "3.0", "unclear", "2 partial"),
            ("d", "", "-", "not run"),
        ),
        sides=("left", "right", "left", "left"),
        leading=1,
    ),
    marks=("[1] no",),
)


def test_colours_change_no_character():
    # In full width, and broken into several parts.
    for width in (None, 24):
        plain = text.write(PAGE, width)
        coloured = text.write(PAGE, width, colour=True)

        assert "\033" not in plain
        assert CODE.sub("", coloured) == plain


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("yes, tuned", colours.GREEN),
        ("no", colours.RED),
        ("unclear", colours.YELLOW),
        ("2.0!", colours.YELLOW),
        ("1 failed [1]", colours.RED),
        ("2 partial", colours.YELLOW),
        ("not run", colours.DIM),
    ],
)
def test_what_is_in_which_colour(words, code):
    assert f"\033[{code}m{words}\033[0m" in text.write(PAGE, colour=True)


def test_words_of_other_columns_are_left_alone():
    shown = text.write(PAGE, colour=True)
    assert "\nc no " in shown
    assert shown.endswith("\n[1] no\n")


# --------------------------------------------------------------------------------- where they stand


def test_a_pipe_gets_neither_colours_nor_curves(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(REPORT) == 0
    out = capsys.readouterr().out

    assert "\033" not in out
    assert "curve" not in out
    assert not set(out) & set("▁▂▃▄▅▆▇█")


def test_a_terminal_gets_both(capsys):
    shown, code = on_a_terminal(*REPORT)
    assert code == 0
    assert "\033[1m" in shown
    assert "█" in shown
    assert "curve: the validation bound" in " ".join(shown.split())

    # Without colours and curves, every word of its rows is that of the plain report.
    assert main(REPORT) == 0
    plain_rows = rows(capsys.readouterr().out)

    assert len(plain_rows) > 10
    assert rows(CURVE.sub("", CODE.sub("", shown))) == plain_rows


@pytest.mark.parametrize(
    ("environment", "colour", "curve"),
    [
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, True),
        ({"PYTHONIOENCODING": "ascii"}, True, False),
    ],
)
def test_a_terminal_that_shows_less(environment, colour, curve):
    shown, code = on_a_terminal(*REPORT, "--brief", **environment)
    assert code == 0
    assert ("\033" in shown) == colour
    assert ("█" in shown) == curve
    assert "\\u" not in shown


def test_curves_of_runs_on_their_way(tmp_path):
    args = [*TINY, f"run.results={tmp_path / 'runs'}"]
    assert main(["run", *args]) == 0
    next(tmp_path.glob("runs/*/seed-0/result.json")).unlink()
    curve = next(tmp_path.glob("runs/*/seed-0/curve.csv"))
    # Keep the header and the first of two validations.
    curve.write_text("".join(curve.read_text().splitlines(keepends=True)[:2]))
    shown, _ = on_a_terminal("report", *args[:-3], args[-1], "--brief")

    assert "▁ 50 %" in shown

    curve.write_text("update,valid_bound,unit\n1,x,nats\n")
    shown, code = on_a_terminal("report", *args[:-3], args[-1], "--brief")

    assert code == 0, "a damaged curve is none"
    assert "1 partial" in shown


# -------------------------------------------------------------------------------------------- brief


def test_a_brief_report_has_a_line_for_each_entry_with_runs():
    table = catalogue.load_table("nvil_mnist")
    frame = recorded.read([SHORT])
    two_rows = frame[frame["row"].isin(["SBN 200", "SBN 500"])]
    files = recorded.Files({SHORT: two_rows})
    lines = written([files.measured(table)], look=Look(brief=True)).splitlines()

    # Title, blank line, header and rule come first.
    assert [line.split()[0:2] for line in lines[4:8]] == [
        ["SBN", "200"],
        ["SBN", "200"],
        ["SBN", "500"],
        ["SBN", "500"],
    ]
    assert lines[2].split() == ["row", "column", "published", "ours", "difference", "verdict"]

    notes = " ".join(lines[9:])
    assert notes.startswith(
        "not run: SBN 200-200 / NVIL; SBN 200-200 / WS; SBN 200-200-200 / NVIL; and "
    )
    assert "NADE" not in notes, "which is not trained here"


def test_a_brief_report_without_any_run_is_what_the_paper_printed():
    table = catalogue.load_table("nvil_mnist")
    frame = recorded.read([SHORT])
    # The results of the table without a single row.
    shown = written(
        [replace(recorded.Files({SHORT: frame}).measured(table), frame=frame[:0])],
        look=Look(brief=True),
    )

    assert "113.1" in shown
    assert "not run:" not in shown
