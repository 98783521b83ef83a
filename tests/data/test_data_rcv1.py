"""RCV1: its token files, and the counts made of them."""

from __future__ import annotations

import gzip
from collections import Counter

import numpy as np
import pytest
from kit.counts import written

from vaebench import data
from vaebench.data.counts import rcv1
from vaebench.data.counts.files import read_stories
from vaebench.data.counts.rcv1 import Rcv1
from vaebench.data.files.sources import RCV1, Source
from vaebench.data.splits import held_out_mask
from vaebench.errors import DataError

STORIES = [["recov", "excit", "excit"], ["mexic", "recov"], [], ["arg"] * 3 + ["recov"]]


def stories_of(stories: list[list[str]], first: int = 2286) -> str:
    """Stories as distributed: some tokens a line, a blank line after every story."""
    parts = []
    for i, story in enumerate(stories):
        # Two tokens a line.
        lines = [" ".join(story[j : j + 2]) for j in range(0, len(story), 2)]
        parts.append("\n".join([f".I {first + i}", ".W", *lines, "", ""]))
    return "".join(parts)


def test_stories_are_read(tmp_path):
    assert list(read_stories(written(tmp_path / "a.dat", stories_of(STORIES)))) == STORIES
    assert (
        list(
            read_stories(
                written(tmp_path / "b.dat.gz", gzip.compress(stories_of(STORIES).encode()))
            )
        )
        == STORIES
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("recov\n", r"line 1 has tokens before \.I and \.W: 'recov'"),
        (".I 1\nrecov\n.W\n", r"line 2 has tokens before \.I and \.W"),
        (".I one\n.W\na\n", r"line 1 is '\.I one', expected \.I and the number of a story"),
        (".W\na\n", r"line 1 is \.W, expected one after each line with \.I"),
        (".I 1\n.W\na\n.W\n", r"line 4 is \.W"),
        (".I 1\n.I 2\n.W\na\n", r"line 2: story 1 has no \.W before the next one"),
        (".I 1\n.W\na\n.I 2\n", "ends within a story"),
        ("", "no story in it"),
    ],
)
def test_bad_token_files_are_one_line(tmp_path, content, says):
    with pytest.raises(DataError, match=says) as e:
        list(read_stories(written(tmp_path / "bad.dat", content)))
    assert "\n" not in str(e.value)


def test_rcv1_from_token_files(tmp_path, caplog):
    """Against a second way of counting. The stories without a word of the vocabulary are left out,
    and this is said."""
    rng = np.random.default_rng(3)
    stems = [f"s{i}" for i in range(9)]
    # 30 stories of two to eight stems; the first stems are the most frequent.
    stories = [
        [stems[j] for j in rng.choice(9, rng.integers(2, 9), p=np.arange(9, 0, -1) / 45)]
        for _ in range(30)
    ]

    # "rare" is too rare for the vocabulary of five words, and a story may be empty.
    stories += [["rare"], []]
    shares = {"train": stories[:4], "test_pt0": stories[4:20], "test_pt1": stories[20:]}
    sources = {part: Source("rcv1", RCV1[part].name, "", unzipped=True) for part in shares}

    for part, source in sources.items():
        written(
            tmp_path / "rcv1" / f"{source.name}.gz",
            gzip.compress(stories_of(shares[part]).encode()),
        )

    sizes = {"sources": sources, "words": 5, "stories": 32, "tested": 6, "valid": 3}
    tiny = type("Tiny", (Rcv1,), sizes)
    loader = tiny()

    arrays = loader.arrays({k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()})
    splits = loader.splits(arrays, None, 0)

    tested = held_out_mask(32, 6, rcv1.SEED)
    # Only stories that are not for testing count; ties go to the word that sorts first.
    totals = Counter(
        stem
        for story, is_test in zip(stories, tested, strict=True)
        if not is_test
        for stem in story
    )
    words = sorted(totals, key=lambda stem: (-totals[stem], stem))[:5]

    assert splits.vocabulary == tuple(words)

    counted = np.array([[story.count(word) for word in words] for story in stories])
    has_words = counted.sum(1) > 0
    assert not has_words[-2:].any()
    np.testing.assert_array_equal(splits.test, counted[tested & has_words])

    # The documents that validate are spread evenly.
    pool = counted[~tested & has_words]
    held = np.arange(3) * len(pool) // 3
    np.testing.assert_array_equal(splits.valid, pool[held])
    np.testing.assert_array_equal(splits.train, np.delete(pool, held, axis=0))
    assert f"{(~has_words).sum()} stories hold none of its words and are left out" in caplog.text

    with pytest.raises(DataError, match="32 stories in its token files, expected 804,414"):
        type("Whole", (Rcv1,), {"sources": sources})().arrays(
            {k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()}
        )

    # The nine stems and "rare".
    with pytest.raises(
        DataError, match="the training stories have 10 different words, expected 11 or more"
    ):
        type("Many", (Rcv1,), sizes | {"words": 11})().arrays(
            {k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()}
        )


def test_rcv1_takes_any_whole_copy_from_the_mirror(tmp_path, monkeypatch):
    assert {s.name for s in RCV1.values()} == {f"lyrl2004_tokens_{p}.dat" for p in RCV1}
    assert all(s.expected == "a whole file; its digest is not on record" for s in RCV1.values())

    sources = {
        part: Source("rcv1", f"{part}.dat", "", unzipped=True) for part in ("train", "test_pt0")
    }
    sizes = {"sources": sources, "words": 4, "stories": 8, "tested": 2, "valid": 2}
    monkeypatch.setitem(data.DATA, "tiny", type("Tiny", (Rcv1,), sizes | {"name": "tiny"}))

    # Eight equal stories in two files, one plain and one gzipped.
    stories = [["a", "b", "c", "d"]] * 4
    written(tmp_path / "rcv1" / "train.dat", stories_of(stories))
    packed = gzip.compress(stories_of(stories, 9).encode())
    written(tmp_path / "rcv1" / "test_pt0.dat.gz", packed)

    splits = data.load({"name": "tiny", "held_out": 3}, mirror=tmp_path, root=tmp_path / "root")

    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [3, 3, 2]

    written(tmp_path / "rcv1" / "test_pt0.dat.gz", packed[:-9])
    with pytest.raises(DataError, match="truncated or damaged gzip"):
        data.load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "other")
