"""Lines of ``curve.csv``, as far as they are sound."""

from __future__ import annotations

import pytest

from vaebench.results import curves

HEADER = "update,valid_bound,unit"
SOUND = f"{HEADER}\n1000,210.5,nats\n2000,,nats\n"


def write(folder, text):
    path = folder / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines_of_a_sound_curve(tmp_path):
    header, rows, damaged = curves.lines(write(tmp_path, SOUND))

    assert header == ["update", "valid_bound", "unit"]
    assert rows == [["1000", "210.5", "nats"], ["2000", "", "nats"]]
    assert damaged is None


@pytest.mark.parametrize(
    "cut_off", ["3", "3000", "3000,19", "3000,190.5,nats"], ids=["number", "update", "bound", "all"]
)
def test_a_last_line_that_was_cut_off_is_left_out(cut_off, tmp_path):
    """Even a line that looks whole: its last number may have had more digits."""
    path = write(tmp_path, SOUND + cut_off)

    assert curves.lines(path) == curves.lines(write(tmp_path, SOUND))


@pytest.mark.parametrize(
    "line",
    [
        "x,190.5,nats",
        "-3000,190.5,nats",
        "3000.0,190.5,nats",
        "\u0663000,190.5,nats",  # an Arabic digit, which int() would take
        "3000,190.5",
        "3000,190.5,nats,more",
        "2000,190.5,nats",  # not later than the line before
        "",
        b"\xff\xfe,190.5,nats",
    ],
)
def test_nothing_counts_from_a_damaged_line_on(line, tmp_path):
    text = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, SOUND.encode() + text + b"\n4000,180.5,nats\n")
    _, rows, damaged = curves.lines(path)

    assert damaged == 4
    assert [row[0] for row in rows] == ["1000", "2000"]
    assert curves.validated(tmp_path) == [1000, 2000]


@pytest.mark.parametrize("text", ["", "upd", f"{HEADER}\n"])
def test_a_curve_without_lines(text, tmp_path):
    path = write(tmp_path, text)

    assert curves.lines(path).rows == []
    assert curves.lines(path).damaged is None
    assert curves.validated(tmp_path) == []


def test_no_curve_is_none_and_an_unreadable_one_is_an_error_of_reading(tmp_path):
    assert curves.lines(tmp_path / "curve.csv") == ([], [], None)
    assert curves.validated(tmp_path) == []

    (tmp_path / "curve.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        curves.lines(tmp_path / "curve.csv")
    assert curves.validated(tmp_path) == []
