"""Files of documents: lines, labels, and one clear line for every fault."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from vaebench.data.text.corpus import read_documents
from vaebench.data.text.specials import SPECIALS
from vaebench.data.text.tokens import encode, unpacked
from vaebench.errors import DataError


@pytest.fixture
def file(tmp_path):
    def write(content: bytes, name: str = "file.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        b"a b\nc\n",
        b"a b\nc",
        b"a b\r\nc\r\n",
        b"a b\rc\r",
        b"\xef\xbb\xbfa b\nc\n",
        b"\n a  b \n\n   \r\n\x0bc\n\n",
        b"a\xc2\xa0b\nc\xe2\x80\xa8\n",  # blanks of Unicode part words, U+2028 parts no lines
        b"a\xc2\x85b\nc\n",
        gzip.compress(b"a b\nc\n", mtime=0),
    ],
    ids=[
        "plain",
        "no_end",
        "windows",
        "carriage_returns",
        "bom",
        "blanks",
        "unicode_blanks",
        "next_line",
        "gzip",
    ],
)
def test_documents_are_read(file, content):
    assert list(read_documents(file(content))) == [["a", "b"], ["c"]]


def test_lines_end_as_in_text_files_of_python(file):
    # Vertical tab, form feed, file separator, U+2028 and U+0085 part words, but end no line.
    content = (
        "a b\nc\x0bd\x0ce\x1cf\u2028g\u0085h\r\ni\rj\r\r\nk\n\n\xe9 \ufeff\n\ufeffl\n".encode()
    )
    path = file(content)
    with path.open(encoding="utf-8") as lines:
        expected = [line.split() for line in lines if line.split()]

    assert list(read_documents(path)) == expected
    # So that the comparison is not of two empty lists.
    assert len(expected) == 7


def test_labels_are_skipped(file):
    path = file(b"1\ta b\n\n  \n\xef\xbb\xbf no\tc\r\n5\t \n2 3\td\n")
    assert list(read_documents(path, labels=True)) == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize(
    ("content", "labels", "says"),
    [
        (b"", False, "no document in it"),
        (b" \n\r\n\n", False, "no document in it"),
        (b"5\t\n", True, "no document in it"),
        (b"a\nb\nc\td\n", False, "line 3 has a tab, expected a document alone, without a label"),
        (b"a\r\rb\tc\r", False, "line 3 has a tab"),
        (b"a\r\nb\r\nc\td\r\n", False, "line 3 has a tab"),
        (b"1\ta\n\nb c\n", True, "line 3 has no tab, expected label<TAB>document"),
        (b"1\ta\n\tb\n", True, "line 2 has nothing before its tab"),
        (b"1\ta\tb\n", True, "line 1 has a second tab"),
        (b"a\nb\0c\n", False, "line 2 has a NUL byte: binary, or not UTF-8 text"),
        ("a b\n".encode("utf-16-le"), False, "line 1 has a NUL byte"),
        ("a b\n".encode("utf-16"), False, "line 1 is not UTF-8 text .byte 0xff, place 1."),
        (
            "a\nb caf\xe9 c\n".encode("latin-1"),
            False,
            "line 2 is not UTF-8 text .byte 0xe9, place 6.",
        ),
        (b"a\n\x89PNG\r\n\x1a\n", False, "line 2 is not UTF-8 text"),
        (b"a b\n\xc3", False, "line 2 is not UTF-8 text"),
        (gzip.compress(b"a b\n" * 1000, mtime=0)[:-9], False, "truncated or damaged gzip"),
        (gzip.compress(b"a b\n", mtime=0)[:12] + b"xxxxxxxxx", False, "truncated or damaged gzip"),
    ],
)
def test_a_bad_file_is_one_line(file, content, labels, says):
    path = file(content)
    with pytest.raises(DataError, match=says) as e:
        list(read_documents(path, labels))
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_no_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file"):
        list(read_documents(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory"):
        list(read_documents(tmp_path))


def test_words_that_look_like_the_frame_are_unknown(file, caplog):
    path = file(b"a </s> b\n<unk> a\n<s> <pad>\n")
    arrays = encode({split: read_documents(path) for split in ("train", "valid", "test")})

    assert unpacked(arrays["vocabulary"]) == (*SPECIALS, "a", "b")
    for split in ("train", "valid", "test"):
        # Numbers of the words; 3 is <unk>.
        assert arrays[split].tolist() == [4, 3, 5, 3, 4, 3, 3]

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert (
        warnings
        == [f"{path}: 2 documents (first line 1) hold one of </s>, <pad>, <s>; read as <unk>"] * 3
    )
