"""Documents: files and their faults, the vocabulary, the arrays, the data sets made of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from vaebench import data
from vaebench.config.catalogue import load_yaml
from vaebench.data import inventory, prepare
from vaebench.data.files import archive, fetch
from vaebench.data.files.sources import YAHOO, YELP, Source
from vaebench.data.kinds import Kind
from vaebench.data.splits import array_hash, make_splits
from vaebench.data.text import tokens
from vaebench.data.text.corpus import SPECIALS, read_documents
from vaebench.data.text.own import OwnText
from vaebench.data.text.tokens import encode, ids_of, make_text_splits, packed, padded, statistics, unpacked, words_of
from vaebench.data.text.toy import ToyText
from vaebench.data.text.yahoo import Yahoo, YahooSmall
from vaebench.data.text.yelp import Yelp
from vaebench.errors import DataError, UserError

REAL_MIRROR = os.environ.get("VAEBENCH_MIRROR")
DOCUMENTS = {
    "train": [["b", "a", "b", "c"], ["a"], ["d", "a"], ["c", "e"]],
    "valid": [["a", "z", "b"], ["q"]],
    "test": [["e", "e", "y", "a", "b", "c"], ["b"]],
}


def text_of(documents: list[list[str]], labels: bool = False) -> bytes:
    label = "3\t" if labels else ""
    return "".join(f"{label}{' '.join(words)}\n" for words in documents).encode()


@pytest.fixture
def file(tmp_path):
    def write(content: bytes, name: str = "file.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


# -------------------------------------------------------------------------------------------------------- files


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
    ids=["plain", "no_end", "windows", "carriage_returns", "bom", "blanks", "unicode_blanks", "next_line", "gzip"],
)
def test_documents_are_read(file, content):
    assert list(read_documents(file(content))) == [["a", "b"], ["c"]]


def test_lines_end_as_in_text_files_of_python(file):
    content = "a b\nc\x0bd\x0ce\x1cf\u2028g\u0085h\r\ni\rj\r\r\nk\n\n\xe9 \ufeff\n\ufeffl\n".encode()
    path = file(content)
    with path.open(encoding="utf-8") as lines:
        expected = [line.split() for line in lines if line.split()]
    assert list(read_documents(path)) == expected
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
        ("a\nb caf\xe9 c\n".encode("latin-1"), False, "line 2 is not UTF-8 text .byte 0xe9, place 6."),
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
        assert arrays[split].tolist() == [4, 3, 5, 3, 4, 3, 3]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f"{path}: 2 documents (first line 1) hold one of </s>, <pad>, <s>; read as <unk>"] * 3


# --------------------------------------------------------------------------------------------- encoding, splits


def test_vocabulary_is_by_first_appearance_in_training_alone():
    arrays = encode(DOCUMENTS)
    assert unpacked(arrays["vocabulary"]) == ("<pad>", "<s>", "</s>", "<unk>", "b", "a", "c", "d", "e")
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
    np.testing.assert_array_equal(splits.valid, [[1, 3, 2, 0, 0, 0, 0, 0], [1, 5, 3, 4, 2, 0, 0, 0]])
    np.testing.assert_array_equal(splits.test, [[1, 4, 2, 0, 0, 0, 0, 0], [1, 8, 8, 3, 5, 4, 6, 2]])
    assert (splits.name, splits.shape, splits.kind) == ("x", (8,), Kind.TOKENS)
    assert splits.vocabulary == (*SPECIALS, "b", "a", "c", "d", "e")
    assert splits.mean.dtype == np.float32
    np.testing.assert_allclose(splits.mean, np.array([0, 0, 4, 0, 2, 3, 2, 1, 1]) / 13, rtol=1e-6)


def test_sorting_is_stable():
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, 6, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.repeat(np.arange(300) + 4, lengths).astype(np.int16)
    rows = padded(flat, offsets, 9)
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
        hash_of(train=[[w + "'" for w in d] for d in DOCUMENTS["train"]], valid=[["a'", "z", "b'"], ["q"]],
                test=[["e'", "e'", "y", "a'", "b'", "c'"], ["b'"]]),  # the same numbers, other words
        hash_of(train=[DOCUMENTS["train"][i] for i in (0, 1, 3, 2)]),
        hash_of(valid=[["a", "z", "c"], ["q"]]),
        hash_of(test=[*DOCUMENTS["test"], ["b"]]),
    ]  # fmt: skip
    assert len(set(hashes)) == 5
    splits = make_text_splits("x", encode(DOCUMENTS))
    assert sorted(splits.hashes) == ["test", "train", "valid", "vocabulary"]
    assert splits.hashes["train"] == array_hash(splits.train)
    other_order = [DOCUMENTS["train"][i] for i in (0, 2, 3, 1)]  # neither numbers nor equal lengths change places
    assert hash_of(train=other_order) == hash_of()


def test_hashes_of_pictures_are_as_they_were():
    a = np.zeros((2, 3), dtype=np.uint8)
    splits = make_splits("x", a, a, a, (3,))
    lines = "\n".join(f"{k}:{array_hash(a)}" for k in ("train", "valid", "test"))
    assert splits.hash == hashlib.sha256(lines.encode()).hexdigest()
    assert splits.vocabulary == ()


def test_round_trip():
    splits = make_text_splits("x", encode(DOCUMENTS))
    for split, documents in DOCUMENTS.items():
        known = [[w if w in splits.vocabulary else "<unk>" for w in d] for d in documents]
        rows = getattr(splits, split)
        assert [words_of(row, splits.vocabulary) for row in rows] == sorted(known, key=len)
        for row, words in zip(rows, sorted(documents, key=len), strict=True):
            assert ids_of(words, splits.vocabulary) == [i for i in row if i]
    assert ids_of(["</s>", "a", "<pad>"], splits.vocabulary) == [1, 3, 5, 3, 2]
    assert words_of([4, 5], splits.vocabulary) == ["b", "a"]
    assert words_of([1, 4, 0, 5], splits.vocabulary) == ["b"]


def test_statistics():
    splits = make_text_splits("x", encode(DOCUMENTS))
    found = statistics(splits.train)
    assert (found.documents, found.tokens, found.longest) == (4, 13, 5)
    assert statistics(splits.test).longest == 7


def test_rows_that_would_fill_the_memory_are_one_line(monkeypatch):
    monkeypatch.setattr(tokens, "CELLS", 31)  # 4 documents as wide as one of 6 words and its frame: 32 places
    with pytest.raises(DataError, match="x: 4 documents beside one of 6 words"):
        make_text_splits("x", encode(DOCUMENTS))
    monkeypatch.setattr(tokens, "CELLS", 32)
    make_text_splits("x", encode(DOCUMENTS))


# ------------------------------------------------------------------------------------------------------ loaders


@pytest.fixture
def tiny(tmp_path):
    """A loader like Yahoo's, one file without a digest, and the mirror that holds its files."""
    mirror = tmp_path / "mirror"
    (mirror / "tiny").mkdir(parents=True)
    sources = {}
    for split, documents in DOCUMENTS.items():
        content = text_of(documents)
        (mirror / "tiny" / f"tiny.{split}.txt").write_bytes(content)
        known = {"documents": 4} if split == "train" else {}
        sha256 = "" if known else hashlib.sha256(content).hexdigest()
        urls = (f"https://one.test/{split}", f"https://two.test/{split}")
        sources[split] = Source("tiny", f"tiny.{split}.txt", sha256, urls, True, archive="tiny.tar.gz", **known)
    members = {"name": "tiny", "sources": sources, "documents": {"train": 4, "valid": 2, "test": 2}, "entries": 9}
    return type("Tiny", (Yahoo,), members), mirror


def load(cls, mirror, root):
    loader = cls()
    return loader.splits(prepare.prepare(loader, mirror, root), None, 0)


def tar_of(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info in extra or []:
            tar.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_prepared_as_flat_numbers_offsets_and_vocabulary(tiny, tmp_path):
    cls, mirror = tiny
    splits = load(cls, mirror, tmp_path / "root")
    assert splits.hash == make_text_splits("tiny", encode(DOCUMENTS)).hash
    with h5py.File(tmp_path / "root" / "prepared" / "tiny-v1.h5") as f:
        assert f["train"][()].tolist() == [4, 5, 4, 6, 5, 7, 5, 6, 8]
        assert f["train_offsets"][()].tolist() == [0, 4, 5, 7, 9]
        assert bytes(f["vocabulary"][()]) == b"<pad>\n<s>\n</s>\n<unk>\nb\na\nc\nd\ne"
        content = hashlib.sha256((mirror / "tiny" / "tiny.train.txt").read_bytes()).hexdigest()
        assert json.loads(f.attrs["content"]) == {"tiny.train.txt": content}


def test_flat_arrays_have_long_chunks(tmp_path):
    arrays = {"a": np.zeros(200_000, dtype=np.int16), "b": np.zeros((2000, 3), dtype=np.uint8)}
    prepare.write(ToyText(), arrays, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as f:
        assert (f["a"].chunks, f["b"].chunks) == ((65_536,), (1000, 3))


def test_documents_are_not_held_out(tiny, tmp_path):
    cls, mirror = tiny
    arrays = prepare.prepare(cls(), mirror, tmp_path / "root")
    with pytest.raises(UserError, match=r"data\.held_out=2: tiny validates on documents of its own; allowed: null"):
        cls().splits(arrays, 2, 0)


def test_a_file_without_a_digest_is_held_against_its_numbers(tiny, tmp_path):
    cls, mirror = tiny
    path = mirror / "tiny" / "tiny.train.txt"
    path.write_bytes(text_of(DOCUMENTS["train"][:3]))
    with pytest.raises(DataError) as e:
        load(cls, mirror, tmp_path / "root")
    for part in (f"{path}: 3 documents", "expected 4 documents;", "tiny/tiny.train.txt or tiny/tiny.tar.gz"):
        assert part in str(e.value)
    assert "\n" not in str(e.value)
    path.write_bytes(text_of([*DOCUMENTS["train"][:3], ["a", "a"]]))
    with pytest.raises(DataError, match=r"train\.txt: not tiny's .*: a vocabulary of 8 entries, expected 9;"):
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
def test_another_number_of_documents_is_refused(tiny, tmp_path, split, more):
    cls, mirror = tiny
    cls.documents[split] += more
    with pytest.raises(DataError, match=rf"tiny\.{split}\.txt: \d documents, expected"):
        load(cls, mirror, tmp_path / "root")


def test_blank_lines_are_not_counted(tiny, tmp_path):
    cls, mirror = tiny
    expected = load(cls, mirror, tmp_path / "root").hash
    path = mirror / "tiny" / "tiny.train.txt"
    for content in (path.read_bytes().replace(b"\n", b"\r\n \r\n"), path.read_bytes().replace(b"\n", b"\r")):
        path.write_bytes(content)
        assert load(cls, mirror, tmp_path / "other").hash == expected


def test_another_file_without_a_digest_is_prepared_anew(tiny, tmp_path, caplog):
    cls, mirror = tiny
    root, path = tmp_path / "root", mirror / "tiny" / "tiny.train.txt"
    first = load(cls, mirror, root)
    path.write_bytes(text_of([DOCUMENTS["train"][i] for i in (0, 1, 3, 2)]))
    second = load(cls, mirror, root)
    assert first.hash != second.hash
    assert "made of another tiny.train.txt; preparing it anew" in caplog.text
    assert load(cls, None, root).hash == second.hash  # without the files
    assert [c.state for c in inventory.verify_one(cls(), mirror, root)] == ["ok"] * 4
    path.write_bytes(text_of(DOCUMENTS["train"]))
    check = inventory.verify_one(cls(), mirror, root)[-1]
    assert (check.state, check.detail) == ("bad", "made of another tiny.train.txt")


def test_verify_says_what_was_expected(tiny, tmp_path):
    cls, mirror = tiny
    (mirror / "tiny" / "tiny.train.txt").write_bytes(b"a\nb\n")
    check = inventory.verify_one(cls(), mirror, tmp_path)[0]
    assert (check.state, check.detail) == ("bad", "2 documents; expected 4 documents")


# ------------------------------------------------------------------------------------------------------ archive


def members(prefix: str = "data/") -> dict[str, bytes]:
    return {f"{prefix}tiny.{split}.txt": text_of(documents) for split, documents in DOCUMENTS.items()}


def test_files_come_out_of_a_downloaded_archive(tiny, tmp_path, monkeypatch):
    cls, _ = tiny
    asked = []

    def download(url, to):
        asked.append(url)
        to.write_bytes(b"<html>sign in</html>" if "one.test" in url else tar_of(members()))

    monkeypatch.setattr(fetch, "download", download)
    splits = load(cls, None, tmp_path / "root")
    assert splits.hash == make_text_splits("tiny", encode(DOCUMENTS)).hash
    assert asked == ["https://one.test/train", "https://two.test/train"]  # once for all three
    found = sorted(p.name for p in (tmp_path / "root" / "tiny").iterdir())
    assert found == ["tiny.tar.gz", "tiny.test.txt", "tiny.train.txt", "tiny.valid.txt"]
    files = [p for p in (tmp_path / "root").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert inventory.status_of(cls(), None, tmp_path / "root").bytes == sum(p.stat().st_size for p in files)


def test_an_archive_in_the_mirror_will_do(tiny, tmp_path):
    cls, mirror = tiny
    expected = load(cls, mirror, tmp_path / "other").hash
    for file in (mirror / "tiny").iterdir():
        file.unlink()
    (mirror / "tiny" / "tiny.tar.gz").write_bytes(tar_of(members()))
    state = inventory.status_of(cls(), mirror, tmp_path / "root")
    assert (state.missing, state.bytes) == ((), 0)
    assert load(cls, mirror, tmp_path / "root").hash == expected
    assert [p.name for p in (mirror / "tiny").iterdir()] == ["tiny.tar.gz"]
    state = inventory.status_of(cls(), mirror, tmp_path / "root")
    assert state.prepared
    assert state.bytes > 300


def hostile() -> list[tarfile.TarInfo]:
    """Links and devices under the name that is asked for, and a member that would climb out."""
    infos = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        info = tarfile.TarInfo("evil/tiny.train.txt")
        info.type, info.linkname = kind, "/etc/hostname"
        infos.append(info)
    return infos


@pytest.mark.parametrize("prefix", ["../../", "/tmp/vaebench-never/", "a/b/c/", "./", ""])
def test_nothing_in_an_archive_decides_where_anything_is_written(tmp_path, prefix):
    (tmp_path / "here" / "deep").mkdir(parents=True)
    packed_file = tmp_path / "x.tar.gz"
    packed_file.write_bytes(tar_of(members(prefix), hostile()))
    to = tmp_path / "here" / "deep" / "out"
    assert archive.take(packed_file, "tiny.train.txt", to) == ""
    assert to.read_bytes() == text_of(DOCUMENTS["train"])
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "here", "out", "x.tar.gz"]
    assert not Path("/tmp/vaebench-never").exists()


def test_bad_archives(tmp_path, monkeypatch):
    good = tar_of(members())
    for i, (content, says) in enumerate(
        [
            (b"", "not a whole tar.gz"),
            (b"<html></html>", "not a whole tar.gz"),
            (good[:-30], "not a whole tar.gz"),
            (gzip.compress(b"text" * 500, mtime=0), "not a whole tar.gz"),
            (tar_of({}), "0 members called tiny.train.txt"),
            (tar_of({}, hostile()), "0 members called tiny.train.txt"),
            (tar_of({**members("a/"), **members("b/")}), "2 members called tiny.train.txt"),
        ]
    ):
        path = tmp_path / f"{i}.tar.gz"
        path.write_bytes(content)
        assert says in archive.take(path, "tiny.train.txt", tmp_path / f"out{i}"), i
    assert "cannot be read (No such file" in archive.take(tmp_path / "none", "x", tmp_path / "out")
    monkeypatch.setattr(archive, "LARGEST", 3)
    path.write_bytes(good)
    assert "expected 3 at most" in archive.take(path, "tiny.train.txt", tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_an_archive_without_the_file_says_so(tiny, tmp_path, monkeypatch):
    cls, _ = tiny
    answers = {"one": b"<html>sign in</html>", "two": tar_of({"data/other.txt": b"a\n"})}
    monkeypatch.setattr(fetch, "download", lambda url, to: to.write_bytes(answers[url[8:11]]))
    says = r"one\.test/train: not a whole tar\.gz archive .*two\.test/train: 0 members called tiny\.train\.txt"
    with pytest.raises(DataError, match=says):
        load(cls, None, tmp_path / "root")


def test_an_archive_with_wrong_documents_is_not_kept(tiny, tmp_path, monkeypatch):
    cls, _ = tiny
    wrong = {**members(), "data/tiny.train.txt": b"a\n"}
    monkeypatch.setattr(fetch, "download", lambda url, to: to.write_bytes(tar_of(wrong)))
    with pytest.raises(DataError, match=r"https://two\.test/train: 1 documents; to read it from a folder that holds"):
        load(cls, None, tmp_path / "root")
    assert list((tmp_path / "root" / "tiny").iterdir()) == []
    (tmp_path / "root" / "tiny" / "tiny.tar.gz").write_bytes(tar_of(wrong))
    with pytest.raises(DataError, match=r"root/tiny/tiny\.tar\.gz: 1 documents; https://one"):
        load(cls, None, tmp_path / "root")


# ------------------------------------------------------------------------------------- the user's own documents


@pytest.fixture
def own(tmp_path):
    def write(folder: str = "own", labels: bool = False, end: str = "", **changed) -> dict:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        config = {"name": "text", "labels": labels, "content": None, "held_out": None}
        for split, documents in {**DOCUMENTS, **changed}.items():
            content = text_of(documents, labels)
            (place / f"{split}.txt{end}").write_bytes(gzip.compress(content, mtime=0) if end else content)
            config[split] = str(place / f"{split}.txt{end}")
        return config

    return write


def test_own_documents(own, tmp_path):
    expected = make_text_splits("text", encode(DOCUMENTS)).hash
    for config in (own(), own("labelled", labels=True), own("zipped", end=".gz")):
        assert data.load(config, root=tmp_path / "root").hash == expected
    found = sorted(p.name for p in (tmp_path / "root" / "prepared").glob("*.h5"))
    assert len(found) == 2  # plain and gzipped are one
    assert all(name.startswith("text-") for name in found)


def test_what_own_files_hold_decides_not_where_they_are(own, tmp_path, monkeypatch):
    here, there = data.settle(own()), data.settle(own("there"))
    assert here["content"] == there["content"]
    assert len(here["content"]) == 64
    assert data.settle(own("other", test=[["a"]]))["content"] != here["content"]
    assert data.settle(own("valid", valid=DOCUMENTS["test"], test=DOCUMENTS["valid"]))["content"] != here["content"]
    assert data.settle({**own(), "labels": True})["content"] != here["content"]
    monkeypatch.chdir(tmp_path)
    config = {**own(), "train": "own/train.txt"}
    assert data.settle(config) == here
    assert data.settle(here) == here
    assert (OwnText.of(here).stem, OwnText.of(there).stem) == (f"text-{here['content'][:16]}",) * 2


def test_own_files_that_are_gone_or_changed(own, tmp_path):
    config = data.settle(own())
    expected = data.load(config, root=tmp_path / "root").hash
    Path(config["test"]).write_bytes(b"a\n")
    with pytest.raises(DataError, match=rf"not what they were: expected content {config['content'][:16]}, found"):
        data.load(config, root=tmp_path / "root")
    for split in DOCUMENTS:
        Path(config[split]).unlink()
    assert data.load(config, root=tmp_path / "root").hash == expected  # it was prepared
    with pytest.raises(DataError, match=r"train\.txt: cannot be read \(No such file"):
        data.load(config, root=tmp_path / "empty")
    with pytest.raises(DataError, match=r"data\.train=.*train\.txt: there is no such file"):
        data.load({**config, "content": None}, root=tmp_path / "root")


def test_own_files_have_to_be_named(own, tmp_path):
    for config, missing in (({"name": "text"}, "data.train=FILE data.valid=FILE data.test=FILE"),
                            ({**own(), "valid": None}, "them, data.valid=FILE")):  # fmt: skip
        with pytest.raises(UserError, match=missing):
            data.load(config, root=tmp_path / "root")
    with pytest.raises(UserError, match=r"name them, data\.train=FILE"):
        data.get("text", root=tmp_path / "root")
    with pytest.raises(DataError, match=r"data\.test=.*: a folder, expected a file"):
        data.load({**own(), "test": str(tmp_path)}, root=tmp_path / "root")
    with pytest.raises(DataError, match="line 1 has no tab"):
        data.load({**own(), "labels": True}, root=tmp_path / "root")
    with pytest.raises(DataError, match="a single word to learn"):
        data.load(own(train=[["a"]]), root=tmp_path / "root")
    with pytest.raises(DataError, match=r"valid\.txt: a single document, expected two or more"):
        data.load(own(valid=[["a"]]), root=tmp_path / "root")
    Path(own()["train"] + ".gz").write_bytes(gzip.compress(b"a b\n" * 99, mtime=0)[:-9])
    with pytest.raises(DataError, match=r"data\.train=.*: truncated or damaged gzip"):
        data.load({**own(), "train": own()["train"] + ".gz"}, root=tmp_path / "root")
    assert not list((tmp_path / "root").glob("prepared/*.h5"))


def test_other_data_sets_are_settled_as_they_are():
    config = load_yaml("data", "digits")
    assert data.settle(config) == config
    with pytest.raises(UserError, match="unknown data set"):
        data.settle({"name": "txet"})


# --------------------------------------------------------------------------------------------------- what there is


def test_what_ls_and_verify_show(tmp_path):
    states = {s.name: s for s in data.status(root=tmp_path)}
    assert states["yahoo"].missing == ("yahoo.train.txt", "yahoo.valid.txt", "yahoo.test.txt")
    assert states["yahoo_small"].missing == ("yahoo.valid.txt", "yahoo.test.txt")
    assert states["yelp"].missing == ("yelp.train.txt", "yelp.valid.txt", "yelp.test.txt")
    for name in ("synthetic_text", "toy_text"):
        state = states[name]
        assert (state.prepared, state.path, state.needed, state.bytes) == (True, None, (), 0)
    own = states["text"]
    assert own.needed == ("data.train=FILE", "data.valid=FILE", "data.test=FILE")
    assert (own.prepared, own.missing, own.path) == (True, (), None)
    assert [(c.state, c.file) for c in data.verify("text", root=tmp_path)] == [("absent", ", ".join(own.needed))]
    assert [c.state for c in data.verify("toy_text", root=tmp_path)] == ["ok"]
    assert [c.state for c in data.verify("synthetic_text", root=tmp_path)] == ["absent"]
    assert not any(tmp_path.iterdir())


def test_what_a_loader_without_sources_keeps(tmp_path, monkeypatch):
    kept = type("Kept", (ToyText,), {"name": "kept", "keep": True})
    expected = load(ToyText, None, tmp_path).hash
    assert not any(tmp_path.iterdir())
    assert load(kept, None, tmp_path).hash == expected
    monkeypatch.setattr(kept, "read", None)  # not made again
    assert load(kept, None, tmp_path).hash == expected
    state = inventory.status_of(kept(), None, tmp_path)
    assert (state.prepared, state.path) == (True, tmp_path / "prepared" / "kept-v1.h5")
    assert [c.state for c in inventory.verify_one(kept(), None, tmp_path)] == ["ok"]
    state.path.write_bytes(b"x")
    assert [c.state for c in inventory.verify_one(kept(), None, tmp_path)] == ["bad"]


def test_what_is_known_of_yahoo_and_yelp():
    assert (Yahoo.entries, Yelp.entries) == (20_001, 19_997)
    for cls in (Yahoo, Yelp):
        assert cls.documents == {"train": 100_000, "valid": 10_000, "test": 10_000}
        for split, source in cls.sources.items():
            assert source.digest or source.documents == cls.documents[split]
    assert (Yahoo.labels, Yelp.labels) == (False, True)
    assert YAHOO["train"].expected == "100,000 documents"
    assert YAHOO["test"].expected == f"sha256 {YAHOO['test'].sha256}"
    assert [s.urls for s in YAHOO.values()] != [s.urls for s in YELP.values()]
    assert (YahooSmall.sources["valid"], YahooSmall.sources["test"]) == (YAHOO["valid"], YAHOO["test"])


def test_yelp_reads_labels(tmp_path):
    (tmp_path / "yelp").mkdir()
    for split, documents in DOCUMENTS.items():
        (tmp_path / "yelp" / f"yelp.{split}.txt").write_bytes(text_of(documents, labels=True))
    sources = {k: Source(s.folder, s.name, "", documents=len(DOCUMENTS[k])) for k, s in YELP.items()}
    counts = {split: len(documents) for split, documents in DOCUMENTS.items()}
    small = type("Small", (Yelp,), {"sources": sources, "documents": counts, "entries": 9})
    assert load(small, tmp_path, tmp_path / "root").hash == make_text_splits("yelp", encode(DOCUMENTS)).hash
    (tmp_path / "yelp" / "yelp.test.txt").write_bytes(text_of(DOCUMENTS["test"]))
    with pytest.raises(DataError, match=r"yelp\.test\.txt: line 1 has no tab"):
        load(small, tmp_path, tmp_path / "other")


def test_yahoo_small_parts_the_validation_file(tmp_path):
    (tmp_path / "yahoo").mkdir()
    lines = [[f"w{i}", *["x"] * (i % 3)] for i in range(1, 41)]
    (tmp_path / "yahoo" / "yahoo.valid.txt").write_bytes(text_of(lines))
    (tmp_path / "yahoo" / "yahoo.test.txt").write_bytes(text_of([["w7"], ["w10"]]))
    sources = {k: Source("yahoo", f"yahoo.{k}.txt", "", documents=n) for k, n in (("valid", 40), ("test", 2))}
    counts = {"train": 36, "valid": 4, "test": 2}
    small = type("Small", (YahooSmall,), {"sources": sources, "documents": counts, "entries": 41})
    splits = load(small, tmp_path, tmp_path / "root")
    assert [words_of(row, splits.vocabulary) for row in splits.valid] == [
        ["<unk>"], ["<unk>", "x"], ["<unk>", "x"], ["<unk>", "x", "x"],
    ]  # fmt: skip
    words = {words_of(row, splits.vocabulary)[0] for row in splits.train}
    assert words == {f"w{i}" for i in range(1, 41) if i % 10}
    assert [words_of(row, splits.vocabulary) for row in splits.test] == [["w7"], ["<unk>"]]


def test_toy_text():
    loader = ToyText()
    splits = loader.splits(loader.arrays({}), None, 0)
    assert [s.shape for s in (splits.train, splits.valid, splits.test)] == [(600, 14), (100, 14), (100, 14)]
    assert len(splits.vocabulary) == 37
    lengths = (splits.train != 0).sum(axis=1) - 2
    assert set(lengths) == set(range(3, 13))
    assert not any((getattr(splits, s) == 3).any() for s in DOCUMENTS)
    assert splits.hash == "cf38b8f7084668e6cfd33dee5cb475d7db5cbb3f6cbc030c0f25b2cc8ef7129e"
    land = {"dog", "hen", "farmer", "barn", "near", "behind"}
    sea = {"fish", "gull", "sailor", "ship", "under", "beside"}
    for row in splits.train:  # every sentence speaks of one subject
        words = set(words_of(row, splits.vocabulary))
        assert bool(words & land) != bool(words & sea)


def test_canonical_arrays_survive_packing():
    vocabulary = (*SPECIALS, "caf\xe9", "\u2665", "a")
    assert unpacked(packed(vocabulary)) == vocabulary


def real(folder):
    there = REAL_MIRROR is not None and (Path(REAL_MIRROR) / folder).is_dir()
    return pytest.mark.skipif(not there, reason=f"needs VAEBENCH_MIRROR with {folder}/")


@real("yahoo")
def test_real_yahoo_small(tmp_path):
    splits = data.load(load_yaml("data", "yahoo_small"), mirror=REAL_MIRROR, root=tmp_path)
    found = {s: statistics(getattr(splits, s)) for s in DOCUMENTS}
    assert [x.documents for x in found.values()] == [9_000, 1_000, 10_000]
    assert [x.tokens for x in found.values()] == [720_112, 80_568, 798_673]
    assert (splits.shape, len(splits.vocabulary)) == ((202,), 16_699)
    assert splits.vocabulary[4:9] == ("what", "do", "you", "think", "of")
    assert splits.hash == "02a457b5ae48943348f1bbf1aab621fb6466d12af2984c5954701c4b004ab7dc"


@real("yahoo")
def test_real_yahoo_lacks_its_training_documents(tmp_path):
    there = (Path(REAL_MIRROR) / "yahoo" / "yahoo.train.txt").is_file()
    state = next(s for s in data.status(mirror=REAL_MIRROR, root=tmp_path) if s.name == "yahoo")
    assert state.missing == (() if there else ("yahoo.train.txt",))
    if not there:
        with pytest.raises(DataError, match=r"yahoo\.train\.txt: .*expected 100,000 documents; tried") as e:
            fetch.fetch(Source(*("yahoo", "yahoo.train.txt", ""), documents=100_000), Path(REAL_MIRROR), tmp_path)
        assert "\n" not in str(e.value)
