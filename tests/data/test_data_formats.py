"""Readers of the formats amat and idx, plain and gzipped: what they read and what they refuse."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from vaebench.data.files import formats
from vaebench.data.files.content import digest_of
from vaebench.errors import DataError

CASES = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]], dtype=np.uint8)
GREY = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    """Writes a file, plain or gzipped under a name that says nothing of it."""

    def put(content: bytes):
        path = tmp_path / "file.bin"
        path.write_bytes(gzip.compress(content, mtime=0) if request.param == "gzip" else content)
        return path

    return put


@pytest.mark.parametrize("block", [1, 6, 13, 1 << 20])
def test_amat_is_read_whatever_the_block(write, formats_of, monkeypatch, block):
    # A line has six bytes: blocks end within lines and between them.
    monkeypatch.setattr(formats, "BLOCK", block)
    cases = formats.read_amat(write(formats_of[0](CASES)), 3)

    assert cases.dtype == np.uint8
    np.testing.assert_array_equal(cases, CASES)


def test_amat_may_lack_the_last_line_feed(write, formats_of):
    np.testing.assert_array_equal(formats.read_amat(write(formats_of[0](CASES)[:-1]), 3), CASES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"0 1 1\n1 0\n0 0 1\n", "line 2 has 2 values, expected 3"),
        (b"0 1 1 1 0 0\n", "line 1 has 6 values, expected 3"),
        (b"0 1 1\n1 0 0 1\n0 0 1\n", "line 2 has 4 values, expected 3"),
        (b"0 1 1\n1 2 0\n", "line 2 has the value '2', expected 0 or 1"),
        (b"0 1 1\n1 / 0\n", "line 2 has the value '/', expected 0 or 1"),
        (b"0 1 1\n1 0.5 0\n", "line 2 has the value '0.5', expected 0 or 1"),
        (b"0 1 1\n1\t0 0\n", "line 2 has 2 values, expected 3"),
        (b"0 1 1\n1 0 ", "line 2 has the value '', expected 0 or 1"),
        (b"", "empty"),
    ],
)
def test_bad_amat_names_the_line(write, text, says):
    path = write(text)
    with pytest.raises(DataError, match=says) as e:
        formats.read_amat(path, 3)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_bad_line_is_counted_over_blocks(write, formats_of, monkeypatch):
    # Two lines a block.
    monkeypatch.setattr(formats, "BLOCK", 12)
    with pytest.raises(DataError, match="line 5 has the value '7'"):
        formats.read_amat(write(formats_of[0](CASES) + b"0 7 0\n"), 3)


def test_idx_is_read(write, formats_of):
    np.testing.assert_array_equal(formats.read_idx(write(formats_of[1](GREY)), (4, 2, 3)), GREY)
    np.testing.assert_array_equal(formats.read_idx(write(formats_of[1](GREY)), (None, 2, 3)), GREY)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: b"\x00\x00\x0d" + b[3:], "magic number 00000d03"),
        (lambda b: b"P5" + b[2:], "magic number 50350803"),
        (lambda b: b[:3], "magic number 000008"),
        (lambda b: b"", "magic number missing"),
        (lambda b: bytes([0, 0, 8, 1]) + b[4:], "1 dimensions in the idx header, expected 3"),
        (lambda b: b[:9], "truncated in the idx header"),
        (lambda b: b[:-1], "truncated: expected 24 bytes"),
        (lambda b: b + b"\x00", "too long: expected 24 bytes"),
        (
            lambda b: b[:4] + struct.pack(">3I", 2**32 - 1, 2, 3) + b[16:],
            "4294967295 x 2 x 3 in the idx header",
        ),
    ],
)
def test_bad_idx_is_refused(write, formats_of, damage, says):
    path = write(damage(formats_of[1](GREY)))
    with pytest.raises(DataError, match=says) as e:
        formats.read_idx(path, (4, 2, 3))
    assert str(path) in str(e.value)


@pytest.mark.parametrize("kind", ["amat", "idx"])
def test_truncated_gzip_is_a_data_error(tmp_path, formats_of, kind):
    amat, idx = formats_of
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(amat(CASES) if kind == "amat" else idx(GREY))[:-9])

    with pytest.raises(DataError, match="truncated or damaged gzip"):
        formats.read_amat(path, 3) if kind == "amat" else formats.read_idx(path, (None, 2, 3))


def test_hash_of_content_ignores_the_container(tmp_path):
    plain, quick, small = (tmp_path / n for n in ("plain", "quick.gz", "small.gz"))
    plain.write_bytes(b"0 1\n" * 100)
    quick.write_bytes(gzip.compress(b"0 1\n" * 100, 1, mtime=1))
    small.write_bytes(gzip.compress(b"0 1\n" * 100, 9, mtime=2))

    assert len({digest_of(p, unzipped=True) for p in (plain, quick, small)}) == 1
    assert len({digest_of(p) for p in (plain, quick, small)}) == 3
