"""Files of counts and their arrays: both formats against known arrays, one line for
every fault, log counts."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
from kit.counts import WORDS, rows_of, text_of, written

from vaebench import data
from vaebench.data.counts.corpus import CountsLoader
from vaebench.data.counts.files import read_counts, read_vocabulary
from vaebench.data.counts.sparse import Documents, joined
from vaebench.data.counts.toy import ToyCounts
from vaebench.errors import DataError, UserError


def documents_of(rows: np.ndarray) -> Documents:
    ids = [np.flatnonzero(row) for row in rows]
    counts = [row[i] for row, i in zip(rows, ids, strict=True)]
    return Documents.of(np.concatenate(ids), np.concatenate(counts), np.cumsum([0, *map(len, ids)]))


@pytest.mark.parametrize("end", ["", ".gz"])
def test_counts_are_read(tmp_path, end):
    rows = rows_of(12, 0)
    content = text_of(rows)
    path = written(tmp_path / f"x.feat{end}", gzip.compress(content) if end else content)

    documents = read_counts(path, WORDS)

    np.testing.assert_array_equal(documents.dense(WORDS, np.int16), rows)
    np.testing.assert_array_equal(documents.lengths, rows.sum(1))

    written(tmp_path / "dos.feat", content.replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(
        read_counts(tmp_path / "dos.feat", WORDS).dense(WORDS, np.int16), rows
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 2:-1", "line 2 has the count '-1', expected a whole number from 1 to 32,767"),
        ("1 2:1.5", "line 2 has the count '1.5', expected a whole number from 1"),
        ("1 2:1e3", "line 2 has the count '1e3'"),
        ("1 2:0", "line 2 has the count '0', expected a whole number from 1"),
        ("1 2:", "line 2 has the count ''"),
        ("1 2:32768", "line 2 has the count '32768'"),
        (f"1 2:{'9' * 400}", r"line 2 has the count '9{20}\.\.\.'"),
        ("1 8:1", "line 2 has the word '8', but the vocabulary has the words 1 to 7"),
        ("1 0:1", "line 2 has the word '0', but the vocabulary has the words 1 to 7"),
        ("1 -3:1", "line 2 has '-3:1', expected id:count with an id from 1 to 7"),
        ("1 2:1 5", "line 2 has '5', expected id:count"),
        ("1 ²:1", "line 2 has '²:1', expected id:count"),
        ("1 2:1 3:1 2:4", "line 2 has the word 2 twice"),
        ("1", "line 2 is a document without words"),
        ("", "line 2 is a document without words"),
        ("2:1 3:1", "line 2 begins with '2:1', expected a label"),
        ("1 2:\0", "line 2 has a NUL byte"),
    ],
)
def test_bad_counts_are_one_line_with_its_number(tmp_path, line, says):
    path = written(tmp_path / "bad.feat", f"1 1:2 3:1\n{line}\n1 2:1\n")
    with pytest.raises(DataError, match=says) as e:
        read_counts(path, WORDS)
    assert str(e.value).startswith(f"{path}: line 2 ")
    assert "\n" not in str(e.value)


def test_files_that_are_no_counts_at_all(tmp_path):
    with pytest.raises(DataError, match="no document in it"):
        read_counts(written(tmp_path / "empty", b""), WORDS)
    with pytest.raises(DataError, match="truncated or damaged gzip"):
        read_counts(
            written(tmp_path / "cut.gz", gzip.compress(text_of(rows_of(99, 0)))[:-9]), WORDS
        )
    with pytest.raises(DataError, match="line 1 is not UTF-8 text"):
        read_counts(written(tmp_path / "latin", b"1 \xe9:1\n"), WORDS)


def test_vocabularies(tmp_path):
    assert read_vocabulary(written(tmp_path / "a", "who 12\nout 11\nwhich\n")) == (
        "who",
        "out",
        "which",
    )
    for content, says in [
        ("who 12\n\nout 11\n", "line 2 is '', expected a word"),
        ("who 12\nout of 11\n", "line 2 is 'out of 11'"),
        ("who 12\nout 3\nwho 2\n", "line 3 has the word 'who' of line 1 again"),
        ("who\n", "1 words, expected a vocabulary of two or more"),
        ("", "0 words"),
    ]:
        with pytest.raises(DataError, match=says):
            read_vocabulary(written(tmp_path / "b", content))


def test_documents_chosen_joined_and_of_tokens():
    rows = rows_of(9, 1)
    more = rows_of(4, 2)
    documents = documents_of(rows)

    # By places in any order, by a mask, and none at all.
    for places in (np.array([3, 0, 8]), rows[:, 3] > 0, np.array([], dtype=int)):
        np.testing.assert_array_equal(documents.chosen(places).dense(WORDS, np.int64), rows[places])

    both = joined(documents, documents_of(more))
    np.testing.assert_array_equal(both.dense(WORDS, np.int64), np.concatenate([rows, more]))

    # Each word as often as it is counted, in any order.
    rng = np.random.default_rng(5)
    tokens = [rng.permutation(np.repeat(np.arange(WORDS), row)) for row in rows]

    of_tokens = Documents.of_tokens(np.concatenate(tokens), np.cumsum([0, *map(len, tokens)]))

    np.testing.assert_array_equal(of_tokens.dense(WORDS, np.int64), rows)
    # Documents without a token on both sides.
    gap = Documents.of_tokens(np.array([2, 2]), np.array([0, 0, 2, 2]))
    np.testing.assert_array_equal(gap.dense(3, np.int64), [[0, 0, 0], [0, 0, 2], [0, 0, 0]])


def test_log_counts_are_rounded_half_up():
    n = np.arange(1, 30_000)
    # One document of one word for each count.
    logs = Documents.of(np.zeros(len(n)), n, np.arange(len(n) + 1)).with_log_counts().counts

    # e^1.5 - 1 is 3.48, e^2.5 - 1 is 11.18.
    assert logs[:12].tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3]
    assert logs.tolist() == [math.floor(0.5 + math.log(1 + int(i))) for i in n]
    assert logs.min() == 1  # no document loses a word


def test_toy_counts():
    splits = data.load({"name": "toy_counts"})
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [400, 100, 100]
    assert ToyCounts().sizes == {"train": 400, "valid": 100, "test": 100}
    assert ToyCounts().shape == splits.train.shape[1:] == (24,)

    everything = np.concatenate([splits.train, splits.valid, splits.test])
    assert set(everything.sum(1)) == set(range(4, 21))
    assert splits.hash == "d5e997c3d6c630a679dc7ebc622676721fa7cb12e8a3deac7239543be647ba64"

    # (documents, topics, words of a topic), summed over the words.
    topics = everything.reshape(-1, 4, 6).sum(2)
    # Each document has two topics, and at least nine in ten tokens are theirs.
    share = np.sort(topics, axis=1)[:, 2:].sum() / topics.sum()
    assert share > 0.9


def test_every_loader_of_counts_checks_how_they_are_counted():
    for cls in data.DATA.values():
        if issubclass(cls, CountsLoader) and not cls.asks:
            assert cls.of({"name": cls.name, "counts": "log1p"}).counts == "log1p"
            with pytest.raises(UserError, match=r"data\.counts='sqrt': allowed: raw or log1p"):
                cls.of({"name": cls.name, "counts": "sqrt"})
