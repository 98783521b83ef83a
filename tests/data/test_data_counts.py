"""Documents as counts: both formats against known arrays, every kind of bad input, log counts, splits, own files."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vaebench import data
from vaebench.cli import main
from vaebench.data.counts import rcv1
from vaebench.data.counts.corpus import CountsLoader
from vaebench.data.counts.files import read_counts, read_stories, read_vocabulary
from vaebench.data.counts.news20 import News20
from vaebench.data.counts.own import OwnCounts
from vaebench.data.counts.rcv1 import Rcv1
from vaebench.data.counts.sparse import Documents, joined
from vaebench.data.counts.toy import ToyCounts
from vaebench.data.examples import prepare
from vaebench.data.files.sources import NEWS20, RCV1, Source
from vaebench.data.kinds import Kind
from vaebench.data.splits import held_out_mask
from vaebench.errors import DataError, UserError

REAL_MIRROR = os.environ.get("VAEBENCH_MIRROR")
WORDS = 7


def rows_of(number: int, seed: int, most: int = 5) -> np.ndarray:
    """(number, WORDS) counts, each document with a word at least."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, most + 1, (number, WORDS)) * rng.integers(0, 2, (number, WORDS))
    rows[rows.sum(1) == 0, 3] = 1
    return rows


def text_of(rows: np.ndarray) -> bytes:
    """The words of each line in a random order, as in the released files."""
    rng = np.random.default_rng(0)
    lines = []
    for i, row in enumerate(rows):
        ids = rng.permutation(np.flatnonzero(row))
        lines.append(" ".join([str(i % 3 + 1), *(f"{j + 1}:{row[j]}" for j in ids)]))
    return ("\n".join(lines) + "\n").encode()


def vocabulary_of(words: int) -> bytes:
    return "".join(f"w{i} {100 - i}\n" for i in range(words)).encode()


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def documents_of(rows: np.ndarray) -> Documents:
    ids = [np.flatnonzero(row) for row in rows]
    counts = [row[i] for row, i in zip(rows, ids, strict=True)]
    return Documents.of(np.concatenate(ids), np.concatenate(counts), np.cumsum([0, *map(len, ids)]))


# ------------------------------------------------------------------------------------------------- label id:count


@pytest.mark.parametrize("end", ["", ".gz"])
def test_counts_are_read(tmp_path, end):
    rows = rows_of(12, 0)
    content = text_of(rows)
    path = written(tmp_path / f"x.feat{end}", gzip.compress(content) if end else content)
    found = read_counts(path, WORDS)
    np.testing.assert_array_equal(found.dense(WORDS, np.int16), rows)
    np.testing.assert_array_equal(found.lengths, rows.sum(1))
    written(tmp_path / "dos.feat", content.replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(read_counts(tmp_path / "dos.feat", WORDS).dense(WORDS, np.int16), rows)


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
        read_counts(written(tmp_path / "cut.gz", gzip.compress(text_of(rows_of(99, 0)))[:-9]), WORDS)
    with pytest.raises(DataError, match="line 1 is not UTF-8 text"):
        read_counts(written(tmp_path / "latin", b"1 \xe9:1\n"), WORDS)


def test_vocabularies(tmp_path):
    assert read_vocabulary(written(tmp_path / "a", "who 12\nout 11\nwhich\n")) == ("who", "out", "which")
    for content, says in [
        ("who 12\n\nout 11\n", "line 2 is '', expected a word"),
        ("who 12\nout of 11\n", "line 2 is 'out of 11'"),
        ("who 12\nout 3\nwho 2\n", "line 3 has the word 'who' of line 1 again"),
        ("who\n", "1 words, expected a vocabulary of two or more"),
        ("", "0 words"),
    ]:
        with pytest.raises(DataError, match=says):
            read_vocabulary(written(tmp_path / "b", content))


# ------------------------------------------------------------------------------------------------- token files


STORIES = [["recov", "excit", "excit"], ["mexic", "recov"], [], ["arg"] * 3 + ["recov"]]


def stories_of(stories: list[list[str]], first: int = 2286) -> str:
    """As distributed: some tokens a line, a blank line behind every story."""
    parts = []
    for i, story in enumerate(stories):
        lines = [" ".join(story[j : j + 2]) for j in range(0, len(story), 2)]
        parts.append("\n".join([f".I {first + i}", ".W", *lines, "", ""]))
    return "".join(parts)


def test_stories_are_read(tmp_path):
    assert list(read_stories(written(tmp_path / "a.dat", stories_of(STORIES)))) == STORIES
    assert list(read_stories(written(tmp_path / "b.dat.gz", gzip.compress(stories_of(STORIES).encode())))) == STORIES


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
    """Against a second way of counting; the story without a word of the vocabulary is left out, and that is said."""
    rng = np.random.default_rng(3)
    stems = [f"s{i}" for i in range(9)]
    stories = [[stems[j] for j in rng.choice(9, rng.integers(2, 9), p=np.arange(9, 0, -1) / 45)] for _ in range(30)]
    stories += [["rare"], []]
    shares = {"train": stories[:4], "test_pt0": stories[4:20], "test_pt1": stories[20:]}
    sources = {part: Source("rcv1", RCV1[part].name, "", unzipped=True) for part in shares}
    for part, source in sources.items():
        written(tmp_path / "rcv1" / f"{source.name}.gz", gzip.compress(stories_of(shares[part]).encode()))
    sizes = {"sources": sources, "words": 5, "stories": 32, "tested": 6, "valid": 3}
    tiny = type("Tiny", (Rcv1,), sizes)

    loader = tiny()
    arrays = loader.arrays({k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()})
    splits = loader.splits(arrays, None, 0)

    tested = held_out_mask(32, 6, rcv1.SEED)
    totals = Counter(stem for story, out in zip(stories, tested, strict=True) if not out for stem in story)
    words = sorted(totals, key=lambda stem: (-totals[stem], stem))[:5]
    assert splits.vocabulary == tuple(words)
    counted = np.array([[story.count(word) for word in words] for story in stories])
    some = counted.sum(1) > 0
    assert not some[-2:].any()
    np.testing.assert_array_equal(splits.test, counted[tested & some])
    pool = counted[~tested & some]
    held = np.arange(3) * len(pool) // 3
    np.testing.assert_array_equal(splits.valid, pool[held])
    np.testing.assert_array_equal(splits.train, np.delete(pool, held, axis=0))
    assert f"{(~some).sum()} stories hold none of its words and are left out" in caplog.text

    with pytest.raises(DataError, match="32 stories in its token files, expected 804,414"):
        type("Whole", (Rcv1,), {"sources": sources})().arrays(
            {k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()}
        )
    with pytest.raises(DataError, match="the training stories have 10 different words, expected 11 or more"):
        type("Many", (Rcv1,), sizes | {"words": 11})().arrays(
            {k: tmp_path / "rcv1" / f"{s.name}.gz" for k, s in sources.items()}
        )


def test_rcv1_takes_any_whole_copy_from_the_mirror(tmp_path, monkeypatch):
    assert {s.name for s in RCV1.values()} == {f"lyrl2004_tokens_{p}.dat" for p in RCV1}
    assert all(s.expected == "a whole file; its digest is not on record" for s in RCV1.values())
    sources = {part: Source("rcv1", f"{part}.dat", "", unzipped=True) for part in ("train", "test_pt0")}
    sizes = {"sources": sources, "words": 4, "stories": 8, "tested": 2, "valid": 2}
    monkeypatch.setitem(data.DATA, "tiny", type("Tiny", (Rcv1,), sizes | {"name": "tiny"}))
    stories = [["a", "b", "c", "d"]] * 4
    written(tmp_path / "rcv1" / "train.dat", stories_of(stories))
    packed = gzip.compress(stories_of(stories, 9).encode())
    written(tmp_path / "rcv1" / "test_pt0.dat.gz", packed)

    splits = data.load({"name": "tiny", "held_out": 3}, mirror=tmp_path, root=tmp_path / "root")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [3, 3, 2]
    written(tmp_path / "rcv1" / "test_pt0.dat.gz", packed[:-9])
    with pytest.raises(DataError, match="truncated or damaged gzip"):
        data.load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "other")


# ------------------------------------------------------------------------------------------------- arrays and splits


def test_documents_chosen_joined_and_of_tokens():
    rows, more = rows_of(9, 1), rows_of(4, 2)
    found = documents_of(rows)
    for places in (np.array([3, 0, 8]), rows[:, 3] > 0, np.array([], dtype=int)):
        np.testing.assert_array_equal(found.chosen(places).dense(WORDS, np.int64), rows[places])
    both = joined(found, documents_of(more))
    np.testing.assert_array_equal(both.dense(WORDS, np.int64), np.concatenate([rows, more]))

    rng = np.random.default_rng(5)
    tokens = [rng.permutation(np.repeat(np.arange(WORDS), row)) for row in rows]
    again = Documents.of_tokens(np.concatenate(tokens), np.cumsum([0, *map(len, tokens)]))
    np.testing.assert_array_equal(again.dense(WORDS, np.int64), rows)
    gap = Documents.of_tokens(np.array([2, 2]), np.array([0, 0, 2, 2]))  # documents without a token on both sides
    np.testing.assert_array_equal(gap.dense(3, np.int64), [[0, 0, 0], [0, 0, 2], [0, 0, 0]])


def test_log_counts_are_rounded_half_up():
    n = np.arange(1, 30_000)
    found = Documents.of(np.zeros(len(n)), n, np.arange(len(n) + 1)).with_log_counts().counts
    assert found[:12].tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3]  # e^1.5 - 1 is 3.48, e^2.5 - 1 is 11.18
    assert found.tolist() == [math.floor(0.5 + math.log(1 + int(i))) for i in n]
    assert found.min() == 1  # no document loses a word


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """20 Newsgroups in small, from files; and what they hold."""
    rows = {"train": rows_of(40, 6), "test": rows_of(9, 7, most=300)}
    content = {"train": text_of(rows["train"]), "test": text_of(rows["test"]), "vocabulary": vocabulary_of(WORDS)}
    for key, bytes_ in content.items():
        written(tmp_path / "20news" / NEWS20[key].name, bytes_)
    sources = {k: Source("20news", NEWS20[k].name, hashlib.sha256(v).hexdigest()) for k, v in content.items()}
    documents = {"train": 36, "valid": 4, "test": 9}
    cls = type("Tiny", (News20,), {"name": "tiny", "sources": sources, "words": WORDS, "documents": documents})
    monkeypatch.setitem(data.DATA, "tiny", cls)
    return rows


def load(tmp_path, **settings):
    return data.load({"name": "tiny", **settings}, mirror=tmp_path, root=tmp_path / "root")


def test_splits_of_counts(tiny, tmp_path):
    splits = load(tmp_path)
    held = [0, 10, 20, 30]
    np.testing.assert_array_equal(splits.valid, tiny["train"][held])
    np.testing.assert_array_equal(splits.train, np.delete(tiny["train"], held, axis=0))
    np.testing.assert_array_equal(splits.test, tiny["test"])
    assert {part.dtype for part in (splits.train, splits.valid, splits.test)} == {np.dtype(np.int16)}
    assert (splits.kind, splits.shape, splits.tokens) == (Kind.COUNTS, (WORDS,), False)
    assert splits.vocabulary == tuple(f"w{i}" for i in range(WORDS))
    np.testing.assert_allclose(splits.mean, splits.train.mean(0), rtol=1e-6)
    info = splits.info
    assert (info.kind, info.shape, info.size, info.vocabulary) == (Kind.COUNTS, (WORDS,), WORDS, WORDS)

    import torch

    rows = prepare(splits.kind, torch.from_numpy(splits.test))
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), tiny["test"])


def test_log_counts_are_another_data_set_of_the_same_prepared_file(tiny, tmp_path):
    raw, log = load(tmp_path), load(tmp_path, counts="log1p")
    assert [p.name for p in (tmp_path / "root" / "prepared").glob("*.h5")] == ["tiny-v1.h5"]
    np.testing.assert_array_equal(log.test, np.floor(0.5 + np.log1p(tiny["test"])))
    assert log.test.dtype == np.uint8
    np.testing.assert_allclose(log.mean, log.train.mean(0), rtol=1e-6)
    assert log.hash != raw.hash
    with pytest.raises(UserError, match=r"data\.counts='log': allowed: raw or log1p"):
        load(tmp_path, counts="log")


def test_held_out_documents_come_from_all_that_are_not_for_testing(tiny, tmp_path):
    pool = np.concatenate([load(tmp_path).train, load(tmp_path).valid])
    held = held_out_mask(40, 11, 5)
    splits = load(tmp_path, held_out=11, held_out_seed=5)
    np.testing.assert_array_equal(splits.valid, pool[held])
    np.testing.assert_array_equal(splits.train, pool[~held])
    np.testing.assert_array_equal(splits.test, tiny["test"])
    for n in (0, 40):
        with pytest.raises(UserError, match=f"data.held_out={n}: allowed: null, or a whole number from 1 to 39"):
            data.check({"name": "tiny", "held_out": n})
        with pytest.raises(UserError, match=f"data.held_out={n}: allowed: null, or a whole number from 1 to 39"):
            load(tmp_path, held_out=n)
    with pytest.raises(UserError, match=r"data\.entries=5: allowed: null alone"):
        load(tmp_path, entries=5)


def test_files_of_other_numbers_are_refused(tiny, tmp_path):
    files = {key: tmp_path / "20news" / NEWS20[key].name for key in NEWS20}
    cls = data.DATA["tiny"]
    with pytest.raises(DataError, match=r"test\.feat: 9 documents for test, expected 10"):
        type("T", (cls,), {"documents": {"train": 36, "valid": 4, "test": 10}})().arrays(files)
    with pytest.raises(DataError, match=r"vocab\.new: a vocabulary of 7 words, expected 8"):
        type("T", (cls,), {"words": 8})().arrays(files)
    written(files["vocabulary"], vocabulary_of(WORDS - 1))
    with pytest.raises(DataError, match="has the word '7', but the vocabulary has the words 1 to 6"):
        cls().arrays(files)


def test_toy_counts():
    splits = data.load({"name": "toy_counts"})
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [400, 100, 100]
    assert ToyCounts().sizes == {"train": 400, "valid": 100, "test": 100}
    assert ToyCounts().shape == splits.train.shape[1:] == (24,)
    everything = np.concatenate([splits.train, splits.valid, splits.test])
    assert set(everything.sum(1)) == set(range(4, 21))
    assert splits.hash == "d5e997c3d6c630a679dc7ebc622676721fa7cb12e8a3deac7239543be647ba64"
    topics = everything.reshape(-1, 4, 6).sum(2)
    two = np.sort(topics, axis=1)[:, 2:].sum() / topics.sum()
    assert two > 0.9  # tokens of the two topics of a document


# ------------------------------------------------------------------------------------------------- the user's own


@pytest.fixture
def own(tmp_path):
    def write(folder="own", valid=False, train=None) -> dict:
        rows = {"train": rows_of(30, 1) if train is None else train, "test": rows_of(5, 2)}
        rows |= {"valid": rows_of(6, 3)} if valid else {}
        config = {"name": "word_counts", "valid": None, "content": None, "held_out": None, "counts": "raw"}
        config |= {k: str(written(tmp_path / folder / f"{k}.txt", text_of(v))) for k, v in rows.items()}
        return config | {"vocabulary": str(written(tmp_path / folder / "words.txt", vocabulary_of(WORDS)))}

    return write


def test_own_counts(own, tmp_path):
    splits = data.load(own(), root=tmp_path / "root")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [27, 3, 5]
    with_valid = data.load(own("other", valid=True), root=tmp_path / "root")
    np.testing.assert_array_equal(with_valid.train, rows_of(30, 1))
    np.testing.assert_array_equal(with_valid.valid, rows_of(6, 3))
    held = data.load({**own("other", valid=True), "held_out": 10}, root=tmp_path / "root")
    assert [len(s) for s in (held.train, held.valid)] == [26, 10]
    assert len(list((tmp_path / "root" / "prepared").glob("word_counts-*.h5"))) == 2


def test_what_own_counts_hold_decides_not_where_they_are(own, tmp_path):
    here, there = data.settle(own()), data.settle(own("there"))
    assert here["content"] == there["content"] != data.settle(own("v", valid=True))["content"]
    assert OwnCounts.of(here).stem == f"word_counts-{here['content'][:16]}"
    written(Path(here["vocabulary"]), vocabulary_of(WORDS + 1))
    with pytest.raises(DataError, match="not what they were: expected content"):
        data.settle(here)


def test_own_counts_that_cannot_be_used(own, tmp_path):
    config = own()
    for changes, says in [
        ({"train": None, "vocabulary": None}, r"name them, data\.train=FILE data\.vocabulary=FILE$"),
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
    assert not list((tmp_path / "root").glob("prepared/*.h5"))


def test_the_command_says_it_in_one_line(own, tmp_path, capsys):
    config = own()
    written(Path(config["test"]), "1 2:1\n1 3:-2\n")
    files = [f"data.{k}={config[k]}" for k in ("train", "test", "vocabulary")]
    assert main(["run", "table=nvil_mnist", "preset=quick", "data=word_counts", "model=linear_gaussian", *files]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_every_loader_of_counts_checks_how_they_are_counted():
    for cls in data.DATA.values():
        if issubclass(cls, CountsLoader) and not cls.asks:
            assert cls.of({"name": cls.name, "counts": "log1p"}).counts == "log1p"
            with pytest.raises(UserError, match=r"data\.counts='sqrt': allowed: raw or log1p"):
                cls.of({"name": cls.name, "counts": "sqrt"})


@pytest.mark.skipif(
    REAL_MIRROR is None or not (Path(REAL_MIRROR) / "20news").is_dir(), reason="needs VAEBENCH_MIRROR with 20news/"
)
def test_real_news20(tmp_path):
    """Sizes and lengths as counted in the public files by others, with and without logarithms."""
    config = {"name": "news20", "held_out": 100}
    splits = data.load(config, mirror=REAL_MIRROR, root=tmp_path)
    assert [s.shape for s in (splits.train, splits.valid, splits.test)] == [(11_168, 2000), (100, 2000), (7505, 2000)]
    lengths = splits.test.sum(1, dtype=np.int64)
    assert (lengths.sum(), lengths.max(), np.median(lengths)) == (720_898, 4306, 57)
    assert lengths.std() == pytest.approx(187, abs=0.5)
    assert splits.vocabulary[:2] == ("who", "out")
    everything = splits.train[:, 0].sum() + splits.valid[:, 0].sum()
    assert everything == 6494  # as the vocabulary file says of its first word
    logs = data.load({**config, "counts": "log1p"}, mirror=REAL_MIRROR, root=tmp_path).test.sum(1, dtype=np.int64)
    assert logs.mean() == pytest.approx(66.8, abs=0.05)
    assert logs.std() == pytest.approx(75.5, abs=0.05)
    plain = data.load({"name": "news20"}, mirror=REAL_MIRROR, root=tmp_path)
    assert plain.hash == "2804ca9788bada255cec28b41b5d4d1e9d0b3500b8829a3676dc6eda6f659566"
    for counts, per, pool in (("raw", 1190.0, 1183.8), ("log1p", 1195.9, 1231.3)):  # as counted by others
        found = own_unigram(data.load({**config, "counts": counts}, mirror=REAL_MIRROR, root=tmp_path).test)
        assert found == (pytest.approx(per, abs=0.05), pytest.approx(pool, abs=0.05))


def own_unigram(x):
    """Perplexities, per document and pooled, of documents under their own word frequencies."""
    import torch

    from vaebench.estimators.document_perplexity import per_document, pooled

    frequency = x.sum(0, dtype=np.int64)
    nll = torch.from_numpy(-(x @ np.log(frequency / frequency.sum())))
    tokens = torch.from_numpy(x.sum(1, dtype=np.int64))
    return per_document(nll, tokens).value, pooled(nll, tokens).value
