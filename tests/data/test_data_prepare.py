"""Prepared files: what they hold, when they are used, and what an interruption leaves on disk."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
from kit.documents import load

from vaebench.data import MnistStatic, inventory, prepare
from vaebench.data.files import fetch
from vaebench.data.files.sources import Source
from vaebench.data.splits import array_hash
from vaebench.data.text.toy import ToyText
from vaebench.errors import DataError


def in_prepared(root: Path) -> list[str]:
    """What is in the folder of prepared files, the lock apart."""
    return sorted(p.name for p in (root / "prepared").iterdir() if p.suffix != ".lock")


def no_files(*args, **kwargs):
    raise AssertionError("the sources were read again")


def test_prepared_file_is_exact_and_says_where_it_came_from(tiny_static, tmp_path):
    loader = tiny_static.cls()
    first = prepare.prepare(loader, tiny_static.mirror, tmp_path)
    path = prepare.prepared_path(loader, tmp_path)

    assert path == tmp_path / "prepared" / "tiny-v1.h5"
    assert in_prepared(tmp_path) == ["tiny-v1.h5"]

    with h5py.File(path) as file:
        for key, cases in tiny_static.content.items():
            np.testing.assert_array_equal(first[key], cases)
            np.testing.assert_array_equal(file[key][()], cases)
            assert file[key].dtype == np.uint8
            assert file[key].compression == "gzip"

        assert json.loads(file.attrs["sha256"]) == {
            k: array_hash(v) for k, v in tiny_static.content.items()
        }
        assert json.loads(file.attrs["sources"]) == {
            s.name: s.sha256 for s in loader.sources.values()
        }
        assert file.attrs["version"] == 1


def test_prepared_once(tiny_static, tmp_path, monkeypatch):
    loader = tiny_static.cls()
    first = prepare.prepare(loader, tiny_static.mirror, tmp_path)

    # The sources are not read again.
    monkeypatch.setattr(prepare, "fetch", no_files)
    second = prepare.prepare(loader, None, tmp_path)

    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def half_written(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_hdf5(path: Path) -> None:
    path.write_bytes(b"text" * 1000)


def one_pixel_changed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["test"][0, 0] = 1 - file["test"][0, 0]


def split_missing(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["valid"]


def other_version(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 0


def other_sources(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["sources"] = json.dumps({"tiny_train.amat": "0" * 64})


@pytest.mark.parametrize(
    "damage",
    [half_written, empty, not_hdf5, one_pixel_changed, split_missing, other_version, other_sources],
)
def test_a_bad_prepared_file_is_prepared_anew(tiny_static, tmp_path, caplog, capsys, damage):
    loader = tiny_static.cls()
    prepare.prepare(loader, tiny_static.mirror, tmp_path)
    path = prepare.prepared_path(loader, tmp_path)
    damage(path)

    arrays = prepare.prepare(loader, tiny_static.mirror, tmp_path)

    for key, cases in tiny_static.content.items():
        np.testing.assert_array_equal(arrays[key], cases)
    # The new file is whole.
    assert isinstance(prepare.read(loader, path), dict)

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert capsys.readouterr().out == ""


def test_a_bad_prepared_file_is_never_used_even_when_the_sources_are_gone(tiny_static, tmp_path):
    loader = tiny_static.cls()
    prepare.prepare(loader, tiny_static.mirror, tmp_path)
    # The prepared file is damaged, and a source cannot be had either.
    one_pixel_changed(prepare.prepared_path(loader, tmp_path))
    tiny_static.file("valid").write_bytes(b"gone bad")
    loader.sources["valid"] = Source(
        "tiny", "tiny_valid.amat", loader.sources["valid"].sha256, (), unzipped=True
    )

    with pytest.raises(DataError, match=r"tiny_valid\.amat"):
        prepare.prepare(loader, tiny_static.mirror, tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("midway")])
@pytest.mark.parametrize("where", ["arrays", "fsync", "create_dataset"])
def test_interrupted_preparation_leaves_nothing(tiny_static, tmp_path, monkeypatch, where, error):
    loader = tiny_static.cls()

    def stop(*args, **kwargs):
        raise error

    with monkeypatch.context() as m:
        if where == "arrays":
            m.setattr(tiny_static.cls, "arrays", stop)
        elif where == "fsync":
            m.setattr(os, "fsync", stop)
        else:
            m.setattr(h5py.File, "create_dataset", stop)

        with pytest.raises(type(error)):
            prepare.prepare(loader, tiny_static.mirror, tmp_path)

    assert in_prepared(tmp_path) == []

    # The lock was let go.
    prepare.prepare(loader, tiny_static.mirror, tmp_path)
    assert in_prepared(tmp_path) == ["tiny-v1.h5"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tiny_static, tmp_path, monkeypatch):
    loader = tiny_static.cls()
    arrays = prepare.prepare(loader, tiny_static.mirror, tmp_path)
    path = prepare.prepared_path(loader, tmp_path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(
        DataError, match=r"cannot write .*tiny-v1\.h5: No space left on device; set VAEBENCH_DATA"
    ):
        prepare.write(loader, arrays, path)

    assert path.read_bytes() == before
    assert in_prepared(tmp_path) == ["tiny-v1.h5"]


def test_leftovers_of_a_killed_process_are_removed(tiny_static, tmp_path):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / ".tiny-v1.123-abc.tmp").write_bytes(b"half")
    (tmp_path / "prepared" / ".other-v1.123-abc.tmp").write_bytes(b"not ours")

    prepare.prepare(tiny_static.cls(), tiny_static.mirror, tmp_path)

    assert in_prepared(tmp_path) == [".other-v1.123-abc.tmp", "tiny-v1.h5"]


def test_a_root_that_cannot_be_a_folder_is_one_line(tiny_static, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*VAEBENCH_DATA"):
        prepare.prepare(tiny_static.cls(), tiny_static.mirror, tmp_path / "file")


def _prepare_slowly(sources, rows, mirror, root, barrier, results):
    """In a process of its own: prepare the tiny data set at the same moment as the others."""
    import time

    read_by_this_one = []

    class Slow(MnistStatic):
        name = "tiny"
        shape = (2, 3)

        def arrays(self, files):
            read_by_this_one.append(1)
            # So long that the other process comes while this one prepares.
            time.sleep(0.3)
            return super().arrays(files)

    Slow.sources = sources
    Slow.rows = rows
    loader = Slow()

    # Both begin at the same moment.
    barrier.wait(60)
    splits = loader.splits(prepare.prepare(loader, mirror, root), None, 0)
    results.put((splits.hash, len(read_by_this_one)))


def test_two_processes_prepare_at_once(tiny_static, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    results = context.Queue()
    task = (
        tiny_static.cls.sources,
        tiny_static.cls.rows,
        tiny_static.mirror,
        tmp_path,
        barrier,
        results,
    )
    processes = [context.Process(target=_prepare_slowly, args=task) for _ in range(2)]

    for p in processes:
        p.start()

    outcomes = [results.get(timeout=60) for _ in processes]
    for p in processes:
        p.join(60)

    loader = tiny_static.cls()
    expected = loader.splits(tiny_static.content, None, 0).hash

    assert [h for h, _ in outcomes] == [expected, expected]
    # One prepared, the other waited and read.
    assert sorted(n for _, n in outcomes) == [0, 1]
    assert in_prepared(tmp_path) == ["tiny-v1.h5"]


def test_wrong_number_of_cases_is_refused(tiny_static, tmp_path):
    tiny_static.cls.rows["valid"] = 6
    with pytest.raises(DataError, match="5 cases, expected 6"):
        prepare.prepare(tiny_static.cls(), tiny_static.mirror, tmp_path)


def test_downloads_serve_when_there_is_no_mirror(tiny_static, tmp_path, monkeypatch):
    def download(url, to):
        to.write_bytes(tiny_static.file(url.rsplit("_", 1)[1].removesuffix(".amat")).read_bytes())

    monkeypatch.setattr(fetch, "download", download)
    arrays = prepare.prepare(tiny_static.cls(), None, tmp_path)

    np.testing.assert_array_equal(arrays["test"], tiny_static.content["test"])

    cached = sorted(p.name for p in (tmp_path / "tiny").iterdir())
    assert cached == ["tiny_test.amat", "tiny_train.amat", "tiny_valid.amat"]

    expected = tiny_static.cls.sources["test"].sha256
    assert fetch.digest_of(tmp_path / "tiny" / "tiny_test.amat", unzipped=True) == expected


def test_flat_arrays_have_long_chunks(tmp_path):
    arrays = {"a": np.zeros(200_000, dtype=np.int16), "b": np.zeros((2000, 3), dtype=np.uint8)}

    prepare.write(ToyText(), arrays, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as f:
        assert (f["a"].chunks, f["b"].chunks) == ((65_536,), (1000, 3))


def test_what_a_loader_without_sources_keeps(tmp_path, monkeypatch):
    kept = type("Kept", (ToyText,), {"name": "kept", "keep": True})
    expected = load(ToyText, None, tmp_path).hash

    assert not any(tmp_path.iterdir())
    assert load(kept, None, tmp_path).hash == expected

    # The data are not made again.
    monkeypatch.setattr(kept, "read", None)
    assert load(kept, None, tmp_path).hash == expected

    state = inventory.status_of(kept(), None, tmp_path)
    assert (state.prepared, state.path) == (True, tmp_path / "prepared" / "kept-v1.h5")
    assert [c.state for c in inventory.verify_one(kept(), None, tmp_path)] == ["ok"]

    state.path.write_bytes(b"x")
    assert [c.state for c in inventory.verify_one(kept(), None, tmp_path)] == ["bad"]


class WithoutDigest(ToyText):
    """A loader whose only source has no digest, but a number of documents: 2."""

    name = "without_digest"
    sources: ClassVar = {"train": Source("room", "room.txt", "", documents=2)}

    def arrays(self, files):
        return {"train": np.frombuffer(files["train"].read_bytes(), np.uint8)}


def test_a_bad_copy_in_the_mirror_costs_one_preparation(tmp_path, monkeypatch):
    """Without a digest on record the file that was used is remembered: the good copy, not the
    first."""
    for place, text in (("mirror", "cut off\n"), ("cache", "one\ntwo\n")):
        (tmp_path / place / "room").mkdir(parents=True)
        (tmp_path / place / "room" / "room.txt").write_text(text)

    places = tmp_path / "mirror", tmp_path / "cache"
    first = prepare.prepare(WithoutDigest(), *places)
    assert first["train"].tobytes() == b"one\ntwo\n"

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "fetch", no_files)
        second = prepare.prepare(WithoutDigest(), *places)
    assert second["train"].tobytes() == b"one\ntwo\n"

    # Another good copy in the mirror comes first.
    (tmp_path / "mirror" / "room" / "room.txt").write_text("three\nfour\n")
    assert prepare.prepare(WithoutDigest(), *places)["train"].tobytes() == b"three\nfour\n"
