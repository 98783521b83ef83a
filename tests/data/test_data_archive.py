"""Files that come in an archive: each is found by its name, a damaged archive is refused, and
nothing is written elsewhere."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from kit.documents import DOCUMENTS, load, text_of

from vaebench.data import inventory
from vaebench.data.files import archive, fetch
from vaebench.data.text.tokens import encode, make_text_splits
from vaebench.errors import DataError


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


def members(prefix: str = "data/") -> dict[str, bytes]:
    return {
        f"{prefix}tiny.{split}.txt": text_of(documents) for split, documents in DOCUMENTS.items()
    }


def test_files_come_out_of_a_downloaded_archive(tiny_text, tmp_path, monkeypatch):
    cls, _ = tiny_text
    urls = []

    def download(url, to):
        urls.append(url)
        to.write_bytes(b"<html>sign in</html>" if "one.test" in url else tar_of(members()))

    monkeypatch.setattr(fetch, "download", download)
    splits = load(cls, None, tmp_path / "root")

    assert splits.hash == make_text_splits("tiny", encode(DOCUMENTS)).hash
    assert urls == ["https://one.test/train", "https://two.test/train"]  # once for all three

    names = sorted(p.name for p in (tmp_path / "root" / "tiny").iterdir())
    assert names == ["tiny.tar.gz", "tiny.test.txt", "tiny.train.txt", "tiny.valid.txt"]

    # The archive, its files and the prepared file count, lock files do not.
    files = [p for p in (tmp_path / "root").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert inventory.status_of(cls(), None, tmp_path / "root").bytes == sum(
        p.stat().st_size for p in files
    )


def test_an_archive_in_the_mirror_will_do(tiny_text, tmp_path):
    cls, mirror = tiny_text
    expected = load(cls, mirror, tmp_path / "other").hash

    # The mirror holds the archive alone from here on.
    for file in (mirror / "tiny").iterdir():
        file.unlink()
    (mirror / "tiny" / "tiny.tar.gz").write_bytes(tar_of(members()))

    state = inventory.status_of(cls(), mirror, tmp_path / "root")

    # Before anything is loaded nothing is missing, and nothing lies in the root.
    assert (state.missing, state.bytes) == ((), 0)
    assert load(cls, mirror, tmp_path / "root").hash == expected
    assert [p.name for p in (mirror / "tiny").iterdir()] == ["tiny.tar.gz"]

    state = inventory.status_of(cls(), mirror, tmp_path / "root")
    assert state.prepared
    assert state.bytes > 300


def hostile() -> list[tarfile.TarInfo]:
    """Links, devices and a folder under the name that is asked for; the links lead outside."""
    infos = []
    for kind in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ):
        info = tarfile.TarInfo("evil/tiny.train.txt")
        info.type = kind
        info.linkname = "/etc/hostname"
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
    # Only "out" is new.
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "here", "out", "x.tar.gz"]
    assert not Path("/tmp/vaebench-never").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a whole tar.gz"),
        (b"<html></html>", "not a whole tar.gz"),
        (tar_of(members())[:-30], "not a whole tar.gz"),
        (gzip.compress(b"text" * 500, mtime=0), "not a whole tar.gz"),
        # Whole archives, but without a plain file of that name, or with two.
        (tar_of({}), "0 members called tiny.train.txt"),
        (tar_of({}, hostile()), "0 members called tiny.train.txt"),
        (tar_of({**members("a/"), **members("b/")}), "2 members called tiny.train.txt"),
    ],
    ids=["empty", "html", "cut", "no tar", "no member", "no plain member", "two members"],
)
def test_a_bad_archive_says_what_is_wrong(tmp_path, content, says):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    assert says in archive.take(path, "tiny.train.txt", tmp_path / "out")


def test_an_archive_that_cannot_be_read_says_so(tmp_path):
    assert "cannot be read (No such file" in archive.take(tmp_path / "none", "x", tmp_path / "out")


def test_a_member_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 3)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar_of(members()))

    assert "expected 3 at most" in archive.take(path, "tiny.train.txt", tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_an_archive_without_the_file_says_so(tiny_text, tmp_path, monkeypatch):
    cls, _ = tiny_text
    answers = {"one": b"<html>sign in</html>", "two": tar_of({"data/other.txt": b"a\n"})}

    # Letters 8 to 10 of a URL are "one" or "two".
    monkeypatch.setattr(fetch, "download", lambda url, to: to.write_bytes(answers[url[8:11]]))
    says = (
        r"one\.test/train: not a whole tar\.gz archive .*two\.test/train: 0 members "
        r"called tiny\.train\.txt"
    )

    with pytest.raises(DataError, match=says):
        load(cls, None, tmp_path / "root")


def test_an_archive_with_wrong_documents_is_not_kept(tiny_text, tmp_path, monkeypatch):
    cls, _ = tiny_text
    wrong = {**members(), "data/tiny.train.txt": b"a\n"}
    monkeypatch.setattr(fetch, "download", lambda url, to: to.write_bytes(tar_of(wrong)))

    with pytest.raises(
        DataError,
        match=r"https://two\.test/train: 1 documents; to read it from a folder that holds",
    ):
        load(cls, None, tmp_path / "root")

    assert list((tmp_path / "root" / "tiny").iterdir()) == []

    # The same archive as a copy of the user's: it is named in the message.
    (tmp_path / "root" / "tiny" / "tiny.tar.gz").write_bytes(tar_of(wrong))
    with pytest.raises(DataError, match=r"root/tiny/tiny\.tar\.gz: 1 documents; https://one"):
        load(cls, None, tmp_path / "root")
