"""Corpora of documents: prepared, refused where they are not what is known of
them, and the shipped ones."""

from __future__ import annotations

import hashlib
import json

import h5py
import pytest
from kit.documents import DOCUMENTS, load, text_of

from vaebench import data
from vaebench.data import inventory, prepare
from vaebench.data.files.sources import YAHOO, YELP, Source
from vaebench.data.text.tokens import encode, make_text_splits, words_of
from vaebench.data.text.toy import ToyText
from vaebench.data.text.yahoo import Yahoo, YahooSmall
from vaebench.data.text.yelp import Yelp
from vaebench.errors import DataError, UserError


def test_prepared_as_flat_numbers_offsets_and_vocabulary(tiny_text, tmp_path):
    cls, mirror = tiny_text
    splits = load(cls, mirror, tmp_path / "root")
    assert splits.hash == make_text_splits("tiny", encode(DOCUMENTS)).hash

    with h5py.File(tmp_path / "root" / "prepared" / "tiny-v1.h5") as f:
        # The first word is 4: padding, the two of the frame and <unk> are 0 to 3.
        assert f["train"][()].tolist() == [4, 5, 4, 6, 5, 7, 5, 6, 8]
        assert f["train_offsets"][()].tolist() == [0, 4, 5, 7, 9]
        assert bytes(f["vocabulary"][()]) == b"<pad>\n<s>\n</s>\n<unk>\nb\na\nc\nd\ne"

        # The training file has no digest: the prepared file remembers which content it was made of.
        content = hashlib.sha256((mirror / "tiny" / "tiny.train.txt").read_bytes()).hexdigest()
        assert json.loads(f.attrs["content"]) == {"tiny.train.txt": content}


def test_documents_are_not_held_out(tiny_text, tmp_path):
    cls, mirror = tiny_text
    arrays = prepare.prepare(cls(), mirror, tmp_path / "root")

    with pytest.raises(
        UserError, match=r"data\.held_out=2: tiny validates on documents of its own; allowed: null"
    ):
        cls().splits(arrays, 2, 0)


def test_a_file_without_a_digest_is_held_against_its_numbers(tiny_text, tmp_path):
    cls, mirror = tiny_text
    path = mirror / "tiny" / "tiny.train.txt"
    path.write_bytes(text_of(DOCUMENTS["train"][:3]))

    with pytest.raises(DataError) as e:
        load(cls, mirror, tmp_path / "root")
    for part in (
        f"{path}: 3 documents",
        "expected 4 documents;",
        "tiny/tiny.train.txt or tiny/tiny.tar.gz",
    ):
        assert part in str(e.value)

    assert "\n" not in str(e.value)

    # The right number of documents, but one word fewer.
    path.write_bytes(text_of([*DOCUMENTS["train"][:3], ["a", "a"]]))
    with pytest.raises(
        DataError, match=r"train\.txt: not tiny's .*: a vocabulary of 8 entries, expected 9;"
    ):
        load(cls, mirror, tmp_path / "root")

    path.write_bytes(text_of([["a"]] * 4))
    with pytest.raises(DataError, match=r"train\.txt: a single word to learn"):
        load(cls, mirror, tmp_path / "root")

    path.write_bytes(text_of([["<unk>"]] * 4))
    with pytest.raises(DataError, match=r"train\.txt: no word to learn"):
        load(cls, mirror, tmp_path / "root")

    assert not (tmp_path / "root" / "prepared" / "tiny-v1.h5").exists()


@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_another_number_of_documents_is_refused(tiny_text, tmp_path, split, more):
    cls, mirror = tiny_text
    cls.documents[split] += more
    with pytest.raises(DataError, match=rf"tiny\.{split}\.txt: \d documents, expected"):
        load(cls, mirror, tmp_path / "root")


def test_blank_lines_are_not_counted(tiny_text, tmp_path):
    cls, mirror = tiny_text
    expected = load(cls, mirror, tmp_path / "root").hash
    path = mirror / "tiny" / "tiny.train.txt"
    # The line ends of Windows with blank lines between, and carriage returns alone.
    for content in (
        path.read_bytes().replace(b"\n", b"\r\n \r\n"),
        path.read_bytes().replace(b"\n", b"\r"),
    ):
        path.write_bytes(content)
        assert load(cls, mirror, tmp_path / "other").hash == expected


def test_another_file_without_a_digest_is_prepared_anew(tiny_text, tmp_path, caplog):
    cls, mirror = tiny_text
    root = tmp_path / "root"
    path = mirror / "tiny" / "tiny.train.txt"
    first = load(cls, mirror, root)

    # As many documents and words, in another order.
    path.write_bytes(text_of([DOCUMENTS["train"][i] for i in (0, 1, 3, 2)]))
    second = load(cls, mirror, root)

    assert first.hash != second.hash
    assert "made of another tiny.train.txt; preparing it anew" in caplog.text
    # The prepared file is used even if the files are gone.
    assert load(cls, None, root).hash == second.hash
    assert [c.state for c in inventory.verify_one(cls(), mirror, root)] == ["ok"] * 4

    # The prepared file, which is checked last, was made of the other order.
    path.write_bytes(text_of(DOCUMENTS["train"]))
    check = inventory.verify_one(cls(), mirror, root)[-1]
    assert (check.state, check.detail) == ("bad", "made of another tiny.train.txt")


def test_verify_says_what_was_expected(tiny_text, tmp_path):
    cls, mirror = tiny_text
    (mirror / "tiny" / "tiny.train.txt").write_bytes(b"a\nb\n")
    check = inventory.verify_one(cls(), mirror, tmp_path)[0]

    assert (check.state, check.detail) == ("bad", "2 documents; expected 4 documents")


def test_what_ls_and_verify_show(tmp_path):
    states = {s.name: s for s in data.status(root=tmp_path)}
    assert states["yahoo"].missing == ("yahoo.train.txt", "yahoo.valid.txt", "yahoo.test.txt")
    assert states["yahoo_small"].missing == ("yahoo.valid.txt", "yahoo.test.txt")
    assert states["yelp"].missing == ("yelp.train.txt", "yelp.valid.txt", "yelp.test.txt")

    for name in ("synthetic_text", "toy_text"):
        state = states[name]
        assert (state.prepared, state.path, state.needed, state.bytes) == (True, None, (), 0)
    user = states["text"]

    assert user.needed == ("data.train=FILE", "data.valid=FILE", "data.test=FILE")
    assert (user.prepared, user.missing, user.path) == (True, (), None)
    assert [(c.state, c.file) for c in data.verify("text", root=tmp_path)] == [
        ("absent", ", ".join(user.needed))
    ]
    assert [c.state for c in data.verify("toy_text", root=tmp_path)] == ["ok"]
    assert [c.state for c in data.verify("synthetic_text", root=tmp_path)] == ["absent"]
    assert not any(tmp_path.iterdir())


def test_what_is_known_of_yahoo_and_yelp():
    assert (Yahoo.entries, Yelp.entries) == (20_001, 19_997)
    for cls in (Yahoo, Yelp):
        assert cls.documents == {"train": 100_000, "valid": 10_000, "test": 10_000}
        for split, source in cls.sources.items():
            # Without a digest, the number of documents is checked.
            assert source.digest or source.documents == cls.documents[split]
    assert (Yahoo.labels, Yelp.labels) == (False, True)
    assert YAHOO["train"].expected == "100,000 documents"
    assert YAHOO["test"].expected == f"sha256 {YAHOO['test'].sha256}"
    assert [s.urls for s in YAHOO.values()] != [s.urls for s in YELP.values()]
    assert (YahooSmall.sources["valid"], YahooSmall.sources["test"]) == (
        YAHOO["valid"],
        YAHOO["test"],
    )


def test_yelp_reads_labels(tmp_path):
    (tmp_path / "yelp").mkdir()
    for split, documents in DOCUMENTS.items():
        (tmp_path / "yelp" / f"yelp.{split}.txt").write_bytes(text_of(documents, labels=True))

    sources = {
        k: Source(s.folder, s.name, "", documents=len(DOCUMENTS[k])) for k, s in YELP.items()
    }

    counts = {split: len(documents) for split, documents in DOCUMENTS.items()}
    # Four special entries and five words.
    small = type("Small", (Yelp,), {"sources": sources, "documents": counts, "entries": 9})

    assert (
        load(small, tmp_path, tmp_path / "root").hash
        == make_text_splits("yelp", encode(DOCUMENTS)).hash
    )

    (tmp_path / "yelp" / "yelp.test.txt").write_bytes(text_of(DOCUMENTS["test"]))
    with pytest.raises(DataError, match=r"yelp\.test\.txt: line 1 has no tab"):
        load(small, tmp_path, tmp_path / "other")


def test_yahoo_small_parts_the_validation_file(tmp_path):
    (tmp_path / "yahoo").mkdir()
    # The first word has the number of its line, the rest is 0 to 2 times x.
    lines = [[f"w{i}", *["x"] * (i % 3)] for i in range(1, 41)]
    (tmp_path / "yahoo" / "yahoo.valid.txt").write_bytes(text_of(lines))
    (tmp_path / "yahoo" / "yahoo.test.txt").write_bytes(text_of([["w7"], ["w10"]]))

    sources = {
        k: Source("yahoo", f"yahoo.{k}.txt", "", documents=n)
        for k, n in (("valid", 40), ("test", 2))
    }
    counts = {"train": 36, "valid": 4, "test": 2}
    small = type("Small", (YahooSmall,), {"sources": sources, "documents": counts, "entries": 41})

    splits = load(small, tmp_path, tmp_path / "root")

    # Lines 10, 20, 30 and 40 validate, sorted by length. Training documents hold x, but none of
    # their first words.
    assert [words_of(row, splits.vocabulary) for row in splits.valid] == [
        ["<unk>"], ["<unk>", "x"], ["<unk>", "x"], ["<unk>", "x", "x"],
    ]  # fmt: skip

    words = {words_of(row, splits.vocabulary)[0] for row in splits.train}
    assert words == {f"w{i}" for i in range(1, 41) if i % 10}
    assert [words_of(row, splits.vocabulary) for row in splits.test] == [["w7"], ["<unk>"]]


def test_toy_text():
    loader = ToyText()
    splits = loader.splits(loader.arrays({}), None, 0)

    assert [s.shape for s in (splits.train, splits.valid, splits.test)] == [
        (600, 14),
        (100, 14),
        (100, 14),
    ]
    assert len(splits.vocabulary) == 37

    # Without the two of the frame.
    lengths = (splits.train != 0).sum(axis=1) - 2
    assert set(lengths) == set(range(3, 13))
    # 3 is the unknown word.
    assert not any((getattr(splits, s) == 3).any() for s in DOCUMENTS)
    assert splits.hash == "cf38b8f7084668e6cfd33dee5cb475d7db5cbb3f6cbc030c0f25b2cc8ef7129e"

    land = {"dog", "hen", "farmer", "barn", "near", "behind"}
    sea = {"fish", "gull", "sailor", "ship", "under", "beside"}
    # Every sentence speaks of one subject.
    for row in splits.train:
        words = set(words_of(row, splits.vocabulary))
        assert bool(words & land) != bool(words & sea)
