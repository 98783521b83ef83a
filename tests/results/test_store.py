"""Results in files: they survive full disks, crashes and other processes; what cannot be read is
reported and never replaced."""

from __future__ import annotations

import errno
import json
import logging
import math
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kit.results import cell, result, stored

from vaebench.errors import UserError
from vaebench.results.lock import Busy
from vaebench.results.store import Store, seed_of, seeds_in

SPAWN = multiprocessing.get_context("spawn")


def test_result_round_trip_and_nothing_created_by_looking(tmp_path):
    store = Store(tmp_path / "runs")
    assert store.run_dir("k", 3) == tmp_path / "runs" / "k" / "seed-3"
    assert store.read_result("k", 3) is None
    assert not (tmp_path / "runs").exists()

    store.write_result("k", 3, result(3))
    assert store.read_result("k", 3) == result(3)


def test_nan_becomes_null(tmp_path):
    store = Store(tmp_path)
    store.write_result("k", 0, {"measures": [{"value": math.nan, "extra": (math.inf, 1.0)}]})
    text = (store.run_dir("k", 0) / "result.json").read_text()

    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {"measures": [{"value": None, "extra": [None, 1.0]}]}


@pytest.mark.parametrize("damage", ['{"schema": 1, "stat', "", "[1, 2]", b"\xff\xfe\x00"])
def test_damaged_result_is_a_warning_and_none(tmp_path, caplog, damage):
    store = Store(tmp_path)
    store.write_result("k", 0, result())
    path = store.run_dir("k", 0) / "result.json"
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    with caplog.at_level(logging.WARNING):
        assert store.read_result("k", 0) is None

    assert "damaged" in caplog.text
    assert str(path) in caplog.text


DEEP = "[" * 100_000
NOT_RESULTS = [
    "",
    "[1, 2]",
    DEEP,
    "{}",
    '{"status": 3}',
    '{"status": "done", "measures": {}}',
    b"\xff",
]


@pytest.mark.parametrize("damage", NOT_RESULTS)
def test_a_damaged_result_is_kept_aside_when_another_is_written(tmp_path, caplog, damage):
    store = Store(tmp_path)
    store.write_result("k", 0, result())
    path = store.run_dir("k", 0) / "result.json"
    content = damage if isinstance(damage, bytes) else damage.encode()

    for number, name in enumerate(
        ["result.json.damaged", "result.json.damaged-2", "result.json.damaged-3"], start=1
    ):
        path.write_bytes(content + b" " * number)
        # Read several times, and yet one warning in the whole test; see below.
        assert [store.read_result("k", 0) for _ in range(3)] == [None] * 3

        store.write_result("k", 0, result())
        assert (path.parent / name).read_bytes() == content + b" " * number
        assert store.read_result("k", 0) == result()

    assert len(list(path.parent.iterdir())) == 4
    assert caplog.text.count("damaged and taken as missing") == 1
    assert caplog.text.count("kept as result.json.damaged") == 3

    store.write_result("k", 0, result(seconds=1.0))  # a good one is replaced
    assert len(list(path.parent.iterdir())) == 4


def test_a_result_that_cannot_be_read_is_an_error_and_is_not_replaced(tmp_path):
    store = Store(tmp_path)
    sbn200 = cell()
    (store.run_dir(sbn200.key, 0) / "result.json").mkdir(parents=True)
    store.write_result(sbn200.key, 1, result(1))

    for act in (store.read_result, lambda *run: store.write_result(*run, result())):
        with pytest.raises(
            UserError, match=r"result\.json: cannot be read: Is a directory; nothing was replaced"
        ):
            act(sbn200.key, 0)

    assert (store.run_dir(sbn200.key, 0) / "result.json").is_dir()
    with pytest.raises(UserError, match="cannot be read"):
        store.frame([sbn200], [0, 1])


def test_a_result_without_permission_is_not_replaced(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_result("k", 0, result())

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as m:
        m.setattr(Path, "read_bytes", forbidden)
        with pytest.raises(UserError, match=r"result\.json: cannot be read: Permission denied"):
            store.write_result("k", 0, result(seconds=99.0))

    assert store.read_result("k", 0) == result()


@pytest.mark.parametrize(
    "name",
    [f"seed-{2**63}", "seed-" + "9" * 22, "seed-007", "seed-²", "seed-٣", "seed-", "seed-0 (copy)"],
)
def test_a_folder_of_no_seed_is_passed_over(tmp_path, name):
    store = Store(tmp_path)
    # The largest whole number of 64 bits is a seed, one more is none.
    for folder in (name, "seed-3", f"seed-{2**63 - 1}"):
        (tmp_path / "k" / folder).mkdir(parents=True)
        (tmp_path / "k" / folder / "result.json").write_text(json.dumps(result()))

    assert [r["seed"] for r in stored(store)] == seeds_in(tmp_path / "k") == [3, 2**63 - 1]
    assert seed_of(tmp_path / "k" / name) is None


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_full_disk_leaves_the_old_result(tmp_path, monkeypatch, stage):
    store = Store(tmp_path)
    store.write_result("k", 0, result())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, stage, full)
    with pytest.raises(OSError, match="No space left"):
        store.write_result("k", 0, result(seconds=99.0))
    assert store.read_result("k", 0) == result()
    assert [p.name for p in store.run_dir("k", 0).iterdir()] == ["result.json"]


def test_threads_lose_nothing(tmp_path):
    store = Store(tmp_path)
    # 80 runs: 20 seeds of each of four keys.
    jobs = [(f"key-{i % 4}", i // 4) for i in range(80)]

    with ThreadPoolExecutor(10) as pool:
        list(
            pool.map(
                lambda job: store.write_result(job[0], job[1], {**result(job[1]), "tag": job}), jobs
            )
        )

    tag_by_run = {(r["key"], r["seed"]): tuple(r["tag"]) for r in stored(store)}
    assert tag_by_run == {job: job for job in jobs}
    assert [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")] == []


def _write_many(root, who):
    store = Store(root)
    for i in range(10):
        store.write_result(f"key-{who}", i, result(i))
        store.write_result("shared", 0, result(seconds=float(who)))


def test_processes_lose_nothing(tmp_path):
    workers = [SPAWN.Process(target=_write_many, args=(tmp_path, who)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]

    store = Store(tmp_path)
    # Ten runs of each process; the run that they share is whole and of one of them.
    assert sum(r["key"] != "shared" for r in stored(store)) == 30
    assert store.read_result("shared", 0)["seconds"] in (0.0, 1.0, 2.0)


def _hold(root, held):
    with Store(root).lock("k", 0):
        held.set()
        signal.pause()


def test_lock_excludes_a_process_until_it_is_killed(tmp_path):
    store = Store(tmp_path)
    held = SPAWN.Event()
    holder = SPAWN.Process(target=_hold, args=(tmp_path, held))
    holder.start()

    try:
        assert held.wait(60)
        with pytest.raises(Busy, match="another process"), store.lock("k", 0):
            pass

        with store.lock("k", 1):  # another seed is free
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.join(60)

    with store.lock("k", 0):
        pass


def test_lock_is_released_after_an_error_and_excludes_this_process_too(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.lock("k", 0):
        raise RuntimeError
    with store.lock("k", 0), pytest.raises(Busy), store.lock("k", 0):
        pass
