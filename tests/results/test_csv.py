"""The CSV of results: read back it is the same, and what is wrong with one is named."""

from __future__ import annotations

import errno
import math
import os

import pytest
from kit.results import cell, config, measure, result

from vaebench.errors import UserError
from vaebench.results.long_frame import csv_text, read_csv, write_csv
from vaebench.results.store import Store


def test_full_disk_on_csv_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*out.csv: No space left on device"):
        write_csv(Store(tmp_path).frame([], []), path)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"


def frame_with_everything(root):
    store = Store(root)
    # A row name that CSV has to quote and that begins like a missing value; below it numbers that
    # lose digits if they are rounded, and a run without measures.
    awkward_cell = cell('NA, "quoted" | 1_000', config=config(recipe=2), published=1 / 3)
    store.write_result(cell().key, 0, result(seconds=0.1 + 0.2))
    store.write_result(
        cell().key,
        1,
        result(1, status="diverged", measures=[], updates=None, peak_memory_mb=math.nan),
    )
    store.write_result(
        awkward_cell.key,
        0,
        result(measures=[measure(value=math.nan), measure(value=1e-300, error=None)]),
    )
    return store.frame([cell(), awkward_cell], [0, 1])


def test_csv_round_trip_is_equal(tmp_path):
    from pandas.testing import assert_frame_equal

    frame = frame_with_everything(tmp_path)

    # Two measures, one failure, two measures.
    assert len(frame) == 5

    write_csv(frame, tmp_path / "new" / "out.csv")
    read_back = read_csv(tmp_path / "new" / "out.csv")

    assert_frame_equal(read_back, frame, check_exact=True)
    assert csv_text(read_back) == csv_text(frame)
    assert read_back["seconds"][0] == 0.1 + 0.2
    assert read_back["row"].iloc[-1] == 'NA, "quoted" | 1_000'

    empty = Store(tmp_path / "none").frame([], [])
    write_csv(empty, tmp_path / "empty.csv")

    assert_frame_equal(read_csv(tmp_path / "empty.csv"), empty)


def test_read_csv_says_what_is_wrong(tmp_path):
    path = tmp_path / "x.csv"
    with pytest.raises(UserError, match="no such file"):
        read_csv(path)

    path.write_text("")
    with pytest.raises(UserError, match=r"missing columns table, row, column and \d+ more$"):
        read_csv(path)

    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 0x89, place 1\)$"):
        read_csv(path)

    # The byte order mark is 3 bytes and places count from 1, so the byte after the text is at its
    # length + 4.
    good = csv_text(frame_with_everything(tmp_path / "runs"))
    path.write_bytes(b"\xef\xbb\xbf" + good.encode() * 20 + b"\xe9")

    with pytest.raises(UserError, match=rf"byte 0xe9, place {20 * len(good.encode()) + 4}\)$"):
        read_csv(path)

    # Each of these damages one thing in a file that is whole otherwise.
    path.write_text(good.replace(",signature,", ",sign,", 1))
    with pytest.raises(UserError, match=r"missing columns signature$"):
        read_csv(path)

    path.write_text(good.replace("30.5,nats", "thirty,nats", 1))
    with pytest.raises(UserError, match="record 2: column value: 'thirty' is not a number"):
        read_csv(path)

    # The header is record 1, so the last of the five rows, cut off here, is record 6.
    path.write_text(good.rstrip("\n").rsplit(",", 3)[0] + "\n")
    with pytest.raises(UserError, match="record 6 has"):
        read_csv(path)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("extra", "{bad json", "column extra: '{bad json' is not a JSON object"),
        ("extra", "[1]", "column extra: '[1]' is not a JSON object"),
        ("seed", "1" * 23, "column seed: '11111111111111111111111' is not a whole number"),
        ("points", "9" * 99, "column points: '99999"),
        ("points", "1.5", "column points: '1.5' is not a whole number"),
        ("paper_protocol", "maybe", "column paper_protocol: 'maybe' is not True or False"),
        ("error", "-0.1", "column error: -0.1 is negative"),
        ("seed", "-3", "column seed: -3 is negative"),
        ("updates", "-5", "column updates: -5 is negative"),
        ("seconds", "-1", "column seconds: -1 is negative"),
    ],
)
def test_a_damaged_cell_of_a_csv_is_named(tmp_path, column, value, words):
    frame = frame_with_everything(tmp_path / "runs")
    frame = frame.astype({column: object})
    frame.loc[0, column] = value
    (tmp_path / "x.csv").write_text(frame.to_csv(index=False))

    with pytest.raises(UserError) as caught:
        read_csv(tmp_path / "x.csv")
    assert f"record 2: {words}" in str(caught.value)
    # However long the value is, the message is short.
    assert len(str(caught.value)) < len(str(tmp_path)) + 160
