"""20 Newsgroups, in small: its splits, its log counts, and files of other numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from kit.counts import WORDS, rows_of, text_of, vocabulary_of, written

from vaebench import data
from vaebench.data.counts.news20 import News20
from vaebench.data.examples import prepare
from vaebench.data.files.sources import NEWS20, Source
from vaebench.data.kinds import Kind
from vaebench.data.splits import held_out_mask
from vaebench.errors import DataError, UserError


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny 20 Newsgroups from files; returns the counts that they hold."""
    # Up to 300 a word, which a byte cannot hold.
    rows = {"train": rows_of(40, 6), "test": rows_of(9, 7, most=300)}
    content = {
        "train": text_of(rows["train"]),
        "test": text_of(rows["test"]),
        "vocabulary": vocabulary_of(WORDS),
    }

    for key, bytes_ in content.items():
        written(tmp_path / "20news" / NEWS20[key].name, bytes_)

    sources = {
        k: Source("20news", NEWS20[k].name, hashlib.sha256(v).hexdigest())
        for k, v in content.items()
    }

    documents = {"train": 36, "valid": 4, "test": 9}
    cls = type(
        "Tiny",
        (News20,),
        {"name": "tiny", "sources": sources, "words": WORDS, "documents": documents},
    )
    monkeypatch.setitem(data.DATA, "tiny", cls)

    return rows


def load(tmp_path, **settings):
    return data.load({"name": "tiny", **settings}, mirror=tmp_path, root=tmp_path / "root")


def test_splits_of_counts(tiny, tmp_path):
    splits = load(tmp_path)
    # One training document in ten validates.
    held = [0, 10, 20, 30]

    np.testing.assert_array_equal(splits.valid, tiny["train"][held])
    np.testing.assert_array_equal(splits.train, np.delete(tiny["train"], held, axis=0))
    np.testing.assert_array_equal(splits.test, tiny["test"])
    assert {part.dtype for part in (splits.train, splits.valid, splits.test)} == {
        np.dtype(np.int16)
    }
    assert (splits.kind, splits.shape, splits.tokens) == (Kind.COUNTS, (WORDS,), False)
    assert splits.vocabulary == tuple(f"w{i}" for i in range(WORDS))
    np.testing.assert_allclose(splits.mean, splits.train.mean(0), rtol=1e-6)

    info = splits.info
    assert (info.kind, info.shape, info.size, info.vocabulary) == (
        Kind.COUNTS,
        (WORDS,),
        WORDS,
        WORDS,
    )

    import torch

    # A model gets the counts as floats.
    rows = prepare(splits.kind, torch.from_numpy(splits.test))

    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), tiny["test"])


def test_log_counts_are_another_data_set_of_the_same_prepared_file(tiny, tmp_path):
    plain = load(tmp_path)
    logs = load(tmp_path, counts="log1p")

    assert [p.name for p in (tmp_path / "root" / "prepared").glob("*.h5")] == ["tiny-v1.h5"]
    # Rounded half up.
    np.testing.assert_array_equal(logs.test, np.floor(0.5 + np.log1p(tiny["test"])))
    assert logs.test.dtype == np.uint8
    np.testing.assert_allclose(logs.mean, logs.train.mean(0), rtol=1e-6)
    assert logs.hash != plain.hash

    with pytest.raises(UserError, match=r"data\.counts='log': allowed: raw or log1p"):
        load(tmp_path, counts="log")


def test_held_out_documents_come_from_all_that_are_not_for_testing(tiny, tmp_path):
    # The pool that is parted anew: the usual training documents, then those that validate.
    pool = np.concatenate([load(tmp_path).train, load(tmp_path).valid])
    held = held_out_mask(40, 11, 5)

    splits = load(tmp_path, held_out=11, held_out_seed=5)

    np.testing.assert_array_equal(splits.valid, pool[held])
    np.testing.assert_array_equal(splits.train, pool[~held])
    np.testing.assert_array_equal(splits.test, tiny["test"])

    for n in (0, 40):
        with pytest.raises(
            UserError, match=f"data.held_out={n}: allowed: null .*or a whole number from 1 to 39"
        ):
            data.check({"name": "tiny", "held_out": n})
        with pytest.raises(
            UserError, match=f"data.held_out={n}: allowed: null .*or a whole number from 1 to 39"
        ):
            load(tmp_path, held_out=n)

    with pytest.raises(UserError, match=r"data\.entries=5: allowed: null alone"):
        load(tmp_path, entries=5)


def test_files_of_other_numbers_are_refused(tiny, tmp_path):
    files = {key: tmp_path / "20news" / NEWS20[key].name for key in NEWS20}
    cls = data.DATA["tiny"]

    # One more test document and one more word are expected.
    with pytest.raises(DataError, match=r"test\.feat: 9 documents for test, expected 10"):
        type("T", (cls,), {"documents": {"train": 36, "valid": 4, "test": 10}})().arrays(files)
    with pytest.raises(DataError, match=r"vocab\.new: a vocabulary of 7 words, expected 8"):
        type("T", (cls,), {"words": 8})().arrays(files)

    # A vocabulary that is one word too short for the counts.
    written(files["vocabulary"], vocabulary_of(WORDS - 1))
    with pytest.raises(
        DataError, match="has the word '7', but the vocabulary has the words 1 to 6"
    ):
        cls().arrays(files)
