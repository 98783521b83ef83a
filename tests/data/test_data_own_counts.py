"""``data=word_counts``, documents of the user's own: what decides their name. Files that cannot be
used are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.counts import WORDS, rows_of, text_of, vocabulary_of, written

from vaebench import data
from vaebench.data.counts.own import OwnCounts
from vaebench.errors import DataError, UserError


@pytest.fixture
def own(tmp_path):
    def write(folder="own", valid=False, train=None) -> dict:
        rows = {"train": rows_of(30, 1) if train is None else train, "test": rows_of(5, 2)}
        rows |= {"valid": rows_of(6, 3)} if valid else {}

        config = {
            "name": "word_counts",
            "valid": None,
            "content": None,
            "held_out": None,
            "counts": "raw",
        }
        config |= {
            k: str(written(tmp_path / folder / f"{k}.txt", text_of(v))) for k, v in rows.items()
        }

        return config | {
            "vocabulary": str(written(tmp_path / folder / "words.txt", vocabulary_of(WORDS)))
        }

    return write


def test_own_counts(own, tmp_path):
    splits = data.load(own(), root=tmp_path / "root")
    # Without documents to validate, one training document in ten does.
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [27, 3, 5]

    with_valid = data.load(own("other", valid=True), root=tmp_path / "root")
    np.testing.assert_array_equal(with_valid.train, rows_of(30, 1))
    np.testing.assert_array_equal(with_valid.valid, rows_of(6, 3))

    held = data.load({**own(), "held_out": 10}, root=tmp_path / "root")
    assert [len(s) for s in (held.train, held.valid)] == [20, 10]
    # The first and the third use one prepared file.
    assert len(list((tmp_path / "root" / "prepared").glob("word_counts-*.h5"))) == 2


def test_validation_documents_are_used_whatever_a_table_holds_out(own, tmp_path):
    """Tables set ``data.held_out`` for their own data. It would pool the user's two files."""
    config = {**own(valid=True), "held_out": 10}
    assert data.settle(config)["held_out"] is None

    splits = data.load(config, root=tmp_path / "root")
    np.testing.assert_array_equal(splits.valid, rows_of(6, 3))
    np.testing.assert_array_equal(splits.train, rows_of(30, 1))


def test_what_own_counts_hold_decides_not_where_they_are(own, tmp_path):
    settled = data.settle(own())
    moved = data.settle(own("there"))

    assert settled["content"] == moved["content"] != data.settle(own("v", valid=True))["content"]
    assert OwnCounts.of(settled).stem == f"word_counts-{settled['content'][:16]}"

    written(Path(settled["vocabulary"]), vocabulary_of(WORDS + 1))
    with pytest.raises(DataError, match="not what they were: expected content"):
        data.settle(settled)


def test_own_counts_that_cannot_be_used(own, tmp_path):
    config = own()

    for changes, says in [
        (
            {"train": None, "vocabulary": None},
            r"name them, data\.train=FILE data\.vocabulary=FILE$",
        ),
        ({"test": str(tmp_path)}, r"data\.test=.*: a folder"),
        ({"test": str(tmp_path / "no")}, r"data\.test=.*: there is no such file"),
        ({"train": config["vocabulary"]}, r"words\.txt: line 1 has '100', expected id:count"),
    ]:
        with pytest.raises(UserError, match=says):
            data.load({**config, **changes}, root=tmp_path / "root")

    with pytest.raises(DataError, match=r"train\.txt: 3 documents, of which none can validate"):
        data.load(own("few", train=rows_of(3, 1)), root=tmp_path / "root")

    written(Path(config["vocabulary"]), vocabulary_of(3))
    with pytest.raises(DataError, match="but the vocabulary has the words 1 to 3"):
        data.load(config, root=tmp_path / "root")

    # Nothing was prepared in all of this.
    assert not list((tmp_path / "root").glob("prepared/*.h5"))
