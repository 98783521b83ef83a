"""``data=text``, documents of the user's own: what decides their name. Files that cannot be used
are refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from kit.documents import DOCUMENTS, text_of

from vaebench import data
from vaebench.data.text.own import OwnText
from vaebench.data.text.tokens import encode, make_text_splits
from vaebench.errors import DataError, UserError


@pytest.fixture
def own(tmp_path):
    def write(folder: str = "own", labels: bool = False, end: str = "", **changed) -> dict:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        config = {"name": "text", "labels": labels, "content": None, "held_out": None}
        for split, documents in {**DOCUMENTS, **changed}.items():
            content = text_of(documents, labels)
            (place / f"{split}.txt{end}").write_bytes(
                gzip.compress(content, mtime=0) if end else content
            )
            config[split] = str(place / f"{split}.txt{end}")

        return config

    return write


def test_own_documents(own, tmp_path):
    expected = make_text_splits("text", encode(DOCUMENTS)).hash
    for config in (own(), own("labelled", labels=True), own("zipped", end=".gz")):
        assert data.load(config, root=tmp_path / "root").hash == expected

    names = sorted(p.name for p in (tmp_path / "root" / "prepared").glob("*.h5"))
    # Plain and gzipped files are one data set; labels are part of the content of a file.
    assert len(names) == 2
    assert all(name.startswith("text-") for name in names)


def test_what_own_files_hold_decides_not_where_they_are(own, tmp_path, monkeypatch):
    settled = data.settle(own())
    moved = data.settle(own("there"))

    assert settled["content"] == moved["content"]
    assert len(settled["content"]) == 64
    assert data.settle(own("other", test=[["a"]]))["content"] != settled["content"]
    assert (
        data.settle(own("valid", valid=DOCUMENTS["test"], test=DOCUMENTS["valid"]))["content"]
        != settled["content"]
    )
    assert data.settle({**own(), "labels": True})["content"] != settled["content"]

    # A path may be relative to the working folder.
    monkeypatch.chdir(tmp_path)
    config = {**own(), "train": "own/train.txt"}
    assert data.settle(config) == settled
    assert data.settle(settled) == settled
    assert (OwnText.of(settled).stem, OwnText.of(moved).stem) == (
        f"text-{settled['content'][:16]}",
    ) * 2


def test_own_files_that_are_gone_or_changed(own, tmp_path):
    config = data.settle(own())
    expected = data.load(config, root=tmp_path / "root").hash

    Path(config["test"]).write_bytes(b"a\n")
    with pytest.raises(
        DataError, match=rf"not what they were: expected content {config['content'][:16]}, found"
    ):
        data.load(config, root=tmp_path / "root")

    for split in DOCUMENTS:
        Path(config[split]).unlink()
    # Once prepared, the data need no files.
    assert data.load(config, root=tmp_path / "root").hash == expected
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

    # Nothing was prepared in all of this.
    assert not list((tmp_path / "root").glob("prepared/*.h5"))
