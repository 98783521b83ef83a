"""Documents as numbers: which entries of a vocabulary are kept."""

from __future__ import annotations

import numpy as np
import pytest

from vaebench.data.text.corpus import SPECIALS
from vaebench.data.text.tokens import encode, make_text_splits, unknown_share, with_entries, words_of
from vaebench.errors import UserError


def test_the_most_frequent_entries_are_kept_in_their_order():
    """b twice, c and a and d once: of a vocabulary of six b stays, and c, the earliest of the rest."""
    arrays = encode({"train": [["c", "b"], ["b", "a", "d"]], "valid": [["a", "b"]], "test": [["x", "c"]]})
    whole = make_text_splits("tiny", arrays)
    small = with_entries(whole, 6)
    assert small.vocabulary == (*SPECIALS, "c", "b")
    assert [words_of(row, small.vocabulary) for row in small.train] == [["c", "b"], ["b", "<unk>", "<unk>"]]
    assert words_of(small.valid[0], small.vocabulary) == ["<unk>", "b"]
    assert words_of(small.test[0], small.vocabulary) == ["<unk>", "c"]
    assert small.mean.tolist() == pytest.approx([0, 0, 2 / 7, 2 / 7, 1 / 7, 2 / 7])
    assert small.train.dtype == whole.train.dtype
    assert small.hash != whole.hash
    assert with_entries(whole, 8).hash == whole.hash
    for n in (5, 9):
        with pytest.raises(UserError, match=rf"data\.entries={n}: allowed: null, or a whole number from 6 to 8"):
            with_entries(whole, n)


def test_the_share_of_unknown_words_leaves_out_frame_and_padding():
    rows = np.array([[1, 3, 5, 3, 2], [1, 4, 2, 0, 0]])
    assert unknown_share(rows) == 2 / 4
    assert unknown_share(rows[1:]) == 0.0
    assert unknown_share(np.array([[1, 2, 0]])) == 0.0
