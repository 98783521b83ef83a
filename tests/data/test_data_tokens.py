"""Documents as numbers: the vocabulary, the arrays, the splits and their hash."""

from __future__ import annotations

import numpy as np
import pytest
from kit.documents import DOCUMENTS

from vaebench.data.kinds import Kind
from vaebench.data.splits import array_hash
from vaebench.data.text import tokens
from vaebench.data.text.specials import SPECIALS
from vaebench.data.text.tokens import (
    encode,
    ids_of,
    make_text_splits,
    packed,
    padded,
    statistics,
    unknown_share,
    unpacked,
    with_entries,
    words_of,
)
from vaebench.errors import DataError, UserError


def test_the_most_frequent_entries_are_kept_in_their_order():
    """In training b comes twice, c, a and d once. Of six entries four are special: b stays, and c,
    the earliest of the rest."""
    arrays = encode(
        {"train": [["c", "b"], ["b", "a", "d"]], "valid": [["a", "b"]], "test": [["x", "c"]]}
    )
    whole = make_text_splits("tiny", arrays)
    small = with_entries(whole, 6)

    assert small.vocabulary == (*SPECIALS, "c", "b")
    assert [words_of(row, small.vocabulary) for row in small.train] == [
        ["c", "b"],
        ["b", "<unk>", "<unk>"],
    ]
    assert words_of(small.valid[0], small.vocabulary) == ["<unk>", "b"]
    assert words_of(small.test[0], small.vocabulary) == ["<unk>", "c"]
    # Of the 7 tokens after <s>, two each are </s>, <unk> and b, one is c.
    assert small.mean.tolist() == pytest.approx([0, 0, 2 / 7, 2 / 7, 1 / 7, 2 / 7])
    assert small.train.dtype == whole.train.dtype
    assert small.hash != whole.hash
    assert with_entries(whole, 8).hash == whole.hash

    for n in (5, 9):
        with pytest.raises(
            UserError, match=rf"data\.entries={n}: allowed: null, or a whole number from 6 to 8"
        ):
            with_entries(whole, n)


def test_the_share_of_unknown_words_leaves_out_frame_and_padding():
    # Frame 1 and 2, <unk> 3, padding 0: two of four words are unknown.
    rows = np.array([[1, 3, 5, 3, 2], [1, 4, 2, 0, 0]])
    assert unknown_share(rows) == 2 / 4
    assert unknown_share(rows[1:]) == 0.0
    assert unknown_share(np.array([[1, 2, 0]])) == 0.0


def test_vocabulary_is_by_first_appearance_in_training_alone():
    arrays = encode(DOCUMENTS)

    assert unpacked(arrays["vocabulary"]) == (
        "<pad>",
        "<s>",
        "</s>",
        "<unk>",
        "b",
        "a",
        "c",
        "d",
        "e",
    )
    assert {k: v.tolist() for k, v in arrays.items() if k != "vocabulary"} == {
        "train": [4, 5, 4, 6, 5, 7, 5, 6, 8],
        "train_offsets": [0, 4, 5, 7, 9],
        "valid": [5, 3, 4, 3],
        "valid_offsets": [0, 3, 4],
        "test": [8, 8, 3, 5, 4, 6, 4],
        "test_offsets": [0, 6, 7],
    }
    assert {str(arrays[k].dtype) for k in DOCUMENTS} == {"int16"}


@pytest.mark.parametrize(("words", "dtype"), [(32_763, np.int16), (32_764, np.int32)])
def test_large_vocabularies_have_room(words, dtype):
    arrays = encode({**DOCUMENTS, "train": [[f"w{i}" for i in range(words)]]})

    assert len(unpacked(arrays["vocabulary"])) == words + 4
    assert arrays["train"].dtype == arrays["test"].dtype == dtype
    assert arrays["train"].min() == 4
    assert arrays["train"][-1] == words + 3
    assert make_text_splits("x", arrays).train.dtype == dtype


def test_splits_are_sorted_framed_and_padded():
    splits = make_text_splits("x", encode(DOCUMENTS))

    np.testing.assert_array_equal(
        splits.train,
        [
            [1, 5, 2, 0, 0, 0, 0, 0],
            [1, 7, 5, 2, 0, 0, 0, 0],  # of equal length: as in the file
            [1, 6, 8, 2, 0, 0, 0, 0],
            [1, 4, 5, 4, 6, 2, 0, 0],
        ],
    )
    np.testing.assert_array_equal(
        splits.valid, [[1, 3, 2, 0, 0, 0, 0, 0], [1, 5, 3, 4, 2, 0, 0, 0]]
    )
    np.testing.assert_array_equal(splits.test, [[1, 4, 2, 0, 0, 0, 0, 0], [1, 8, 8, 3, 5, 4, 6, 2]])
    assert (splits.name, splits.shape, splits.kind) == ("x", (8,), Kind.TOKENS)
    assert splits.vocabulary == (*SPECIALS, "b", "a", "c", "d", "e")
    assert splits.mean.dtype == np.float32
    # The frequency of each entry among the 13 tokens after <s>; each of 4 documents has a </s>.
    np.testing.assert_allclose(splits.mean, np.array([0, 0, 4, 0, 2, 3, 2, 1, 1]) / 13, rtol=1e-6)


def test_sorting_is_stable():
    # Document i repeats the token i + 4, so that a row says which document it is.
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, 6, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.repeat(np.arange(300) + 4, lengths).astype(np.int16)
    rows = padded(flat, offsets, 9)
    # Python's sort is stable.
    order = sorted(range(300), key=lambda i: lengths[i])

    np.testing.assert_array_equal(rows[:, 1] - 4, order)
    for row, i in zip(rows, order, strict=True):
        n = lengths[i]
        assert row.tolist() == [1, *[i + 4] * n, 2, *[0] * (7 - n)]


def test_the_hash_sees_tokens_order_and_vocabulary():
    def hash_of(**changed):
        return make_text_splits("x", encode({**DOCUMENTS, **changed})).hash

    hashes = [
        hash_of(),
        hash_of(train=[[w + "'" for w in d] for d in DOCUMENTS["train"]],
                valid=[["a'", "z", "b'"], ["q"]],
                # The same numbers, other words.
                test=[["e'", "e'", "y", "a'", "b'", "c'"], ["b'"]]),
        hash_of(train=[DOCUMENTS["train"][i] for i in (0, 1, 3, 2)]),
        hash_of(valid=[["a", "z", "c"], ["q"]]),
        hash_of(test=[*DOCUMENTS["test"], ["b"]]),
    ]  # fmt: skip

    assert len(set(hashes)) == 5

    splits = make_text_splits("x", encode(DOCUMENTS))
    assert sorted(splits.hashes) == ["test", "train", "valid", "vocabulary"]
    assert splits.hashes["train"] == array_hash(splits.train)

    # Rows are sorted by length. In this order documents of equal length keep their places, and
    # words first appear as before.
    other_order = [DOCUMENTS["train"][i] for i in (0, 2, 3, 1)]
    assert hash_of(train=other_order) == hash_of()


def test_round_trip():
    splits = make_text_splits("x", encode(DOCUMENTS))
    for split, documents in DOCUMENTS.items():
        with_unknown = [[w if w in splits.vocabulary else "<unk>" for w in d] for d in documents]
        rows = getattr(splits, split)

        assert [words_of(row, splits.vocabulary) for row in rows] == sorted(with_unknown, key=len)
        # Back to numbers, frame included, padding left out.
        for row, words in zip(rows, sorted(documents, key=len), strict=True):
            assert ids_of(words, splits.vocabulary) == [i for i in row if i]

    # Words that look like the frame or padding are unknown. Words end at padding.
    assert ids_of(["</s>", "a", "<pad>"], splits.vocabulary) == [1, 3, 5, 3, 2]
    assert words_of([4, 5], splits.vocabulary) == ["b", "a"]
    assert words_of([1, 4, 0, 5], splits.vocabulary) == ["b"]


def test_statistics():
    splits = make_text_splits("x", encode(DOCUMENTS))
    training = statistics(splits.train)

    # Each document counts one </s>.
    assert (training.documents, training.tokens, training.longest) == (4, 13, 5)
    assert statistics(splits.test).longest == 7


def test_rows_that_would_fill_the_memory_are_one_line(monkeypatch):
    # 4 documents as wide as one of 6 words and its frame: 32 places.
    monkeypatch.setattr(tokens, "CELLS", 31)
    with pytest.raises(DataError, match="x: 4 documents beside one of 6 words"):
        make_text_splits("x", encode(DOCUMENTS))

    monkeypatch.setattr(tokens, "CELLS", 32)
    make_text_splits("x", encode(DOCUMENTS))


def test_canonical_arrays_survive_packing():
    vocabulary = (*SPECIALS, "caf\xe9", "\u2665", "a")
    assert unpacked(packed(vocabulary)) == vocabulary
