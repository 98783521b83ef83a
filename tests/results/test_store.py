"""vaebench.results.store: results survive full disks, crashes and company; the long frame survives CSV."""

from __future__ import annotations

import errno
import json
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.protocol.signature import signature
from vaebench.results import store as store_module
from vaebench.results.lock import Busy
from vaebench.results.store import COLUMNS, Store, csv_text, is_current, read_csv, seed_of, seeds_in, write_csv

SPAWN = multiprocessing.get_context("spawn")


def config(points=None, **changes):
    c = {
        "data": {"name": "digits"},
        "model": {"name": "sbn", "dims": [200]},
        "objective": {"name": "nvil"},
        "optim": {"name": "sgd", "rate": 3e-4},
        "train": {"updates": 4000, "select": "valid_bound"},
        "eval": {"split": "test", "points": points, "bound_samples": 10, "iw_samples": 100},
        "recipe": 1,
    }
    return {**c, **changes}


def cell(row="SBN 200", **kwargs):
    return Cell("nvil_mnist", row, "NVIL", "quick", kwargs.pop("config", config()), **kwargs)


def measure(name="bound", value=30.5, samples=10, points=None, **kwargs):
    text = signature(config(points), name, samples, "8f3a12cdef")
    base = {"name": name, "value": value, "unit": "nats", "error": 0.05, "error_kind": "monte carlo", "points": 297}
    return {**base, "samples": samples, "signature": text, "extra": {}, **kwargs}


def result(seed=0, **changes):
    return {
        "schema": 1,
        "status": "done",
        "reason": "",
        "seed": seed,
        "config": config(),
        "updates": 4000,
        "best_update": 3000,
        "seconds": 12.5,
        "pack": 2,
        "device": "cpu (2 threads)",
        "peak_memory_mb": 210.5,
        "versions": {"vaebench": "0.1.0", "torch": "2.13", "python": "3.12", "commit": "abc"},
        "data": {"name": "digits", "hash": "8f3a12cdef", "hashes": {}},
        "measures": [measure(), measure("iw_nll", 29.0, 100, extra={"1": 30.5, "10": 29.5})],
        **changes,
    }


# ------------------------------------------------------------------------------------------------- result.json


def test_result_round_trip_and_nothing_created_by_looking(tmp_path):
    s = Store(tmp_path / "runs")
    assert s.run_dir("k", 3) == tmp_path / "runs" / "k" / "seed-3"
    assert s.read_result("k", 3) is None
    assert list(s.runs()) == []
    assert not (tmp_path / "runs").exists()
    s.write_result("k", 3, result(3))
    assert s.read_result("k", 3) == result(3)


def test_nan_becomes_null(tmp_path):
    s = Store(tmp_path)
    s.write_result("k", 0, {"measures": [{"value": math.nan, "extra": (math.inf, 1.0)}]})
    text = (s.run_dir("k", 0) / "result.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {"measures": [{"value": None, "extra": [None, 1.0]}]}


@pytest.mark.parametrize("damage", ['{"schema": 1, "stat', "", "[1, 2]", b"\xff\xfe\x00"])
def test_damaged_result_is_a_warning_and_none(tmp_path, caplog, damage):
    s = Store(tmp_path)
    s.write_result("k", 0, result())
    path = s.run_dir("k", 0) / "result.json"
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    with caplog.at_level(logging.WARNING):
        assert s.read_result("k", 0) is None
    assert "damaged" in caplog.text
    assert str(path) in caplog.text


DEEP = "[" * 100_000
NOT_RESULTS = ["", "[1, 2]", DEEP, "{}", '{"status": 3}', '{"status": "done", "measures": {}}', b"\xff"]


@pytest.mark.parametrize("damage", NOT_RESULTS)
def test_a_damaged_result_is_kept_aside_when_another_is_written(tmp_path, caplog, damage):
    s = Store(tmp_path)
    s.write_result("k", 0, result())
    path, content = s.run_dir("k", 0) / "result.json", damage if isinstance(damage, bytes) else damage.encode()
    for number, name in enumerate(["result.json.damaged", "result.json.damaged-2", "result.json.damaged-3"], start=1):
        path.write_bytes(content + b" " * number)
        assert [s.read_result("k", 0) for _ in range(3)] == [None] * 3
        s.write_result("k", 0, result())
        assert (path.parent / name).read_bytes() == content + b" " * number
        assert s.read_result("k", 0) == result()
    assert len(list(path.parent.iterdir())) == 4
    assert caplog.text.count("damaged and taken as missing") == 1
    assert caplog.text.count("kept as result.json.damaged") == 3
    s.write_result("k", 0, result(seconds=1.0))  # a good one is replaced
    assert len(list(path.parent.iterdir())) == 4


def test_a_result_that_cannot_be_read_is_an_error_and_is_not_replaced(tmp_path, caplog):
    s, c = Store(tmp_path), cell()
    (s.run_dir(c.key, 0) / "result.json").mkdir(parents=True)
    s.write_result(c.key, 1, result(1))
    for act in (s.read_result, lambda *run: s.write_result(*run, result())):
        with pytest.raises(UserError, match=r"result\.json: cannot be read: Is a directory; nothing was replaced"):
            act(c.key, 0)
    assert (s.run_dir(c.key, 0) / "result.json").is_dir()
    with pytest.raises(UserError, match="cannot be read"):
        s.frame([c], [0, 1])
    assert [r["seed"] for r in s.runs()] == [1]
    assert caplog.text.count("cannot be read") == 1


def test_a_result_without_permission_is_not_replaced(tmp_path, monkeypatch):
    s = Store(tmp_path)
    s.write_result("k", 0, result())

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as m:
        m.setattr(Path, "read_bytes", forbidden)
        with pytest.raises(UserError, match=r"result\.json: cannot be read: Permission denied"):
            s.write_result("k", 0, result(seconds=99.0))
    assert s.read_result("k", 0) == result()


@pytest.mark.parametrize(
    "name", [f"seed-{2**63}", "seed-" + "9" * 22, "seed-007", "seed-²", "seed-٣", "seed-", "seed-0 (copy)"]
)
def test_a_folder_of_no_seed_is_passed_over(tmp_path, name):
    s = Store(tmp_path)
    for folder in (name, "seed-3", f"seed-{2**63 - 1}"):
        (tmp_path / "k" / folder).mkdir(parents=True)
        (tmp_path / "k" / folder / "result.json").write_text(json.dumps(result()))
    assert [r["seed"] for r in s.runs()] == seeds_in(tmp_path / "k") == [3, 2**63 - 1]
    assert seed_of(tmp_path / "k" / name) is None


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_full_disk_leaves_the_old_result(tmp_path, monkeypatch, stage):
    s = Store(tmp_path)
    s.write_result("k", 0, result())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, stage, full)
    with pytest.raises(OSError, match="No space left"):
        s.write_result("k", 0, result(seconds=99.0))
    assert s.read_result("k", 0) == result()
    assert [p.name for p in s.run_dir("k", 0).iterdir()] == ["result.json"]


def test_full_disk_on_csv_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*out.csv: No space left on device"):
        write_csv(Store(tmp_path).frame([], []), path)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"


def test_threads_lose_nothing(tmp_path):
    s = Store(tmp_path)
    jobs = [(f"key-{i % 4}", i // 4) for i in range(80)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda job: s.write_result(job[0], job[1], {**result(job[1]), "tag": job}), jobs))
    found = {(r["key"], r["seed"]): tuple(r["tag"]) for r in s.runs()}
    assert found == {job: job for job in jobs}
    assert [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")] == []


def _write_many(root, who):
    s = Store(root)
    for i in range(10):
        s.write_result(f"key-{who}", i, result(i))
        s.write_result("shared", 0, result(seconds=float(who)))


def test_processes_lose_nothing(tmp_path):
    workers = [SPAWN.Process(target=_write_many, args=(tmp_path, who)) for who in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    s = Store(tmp_path)
    assert sum(r["key"] != "shared" for r in s.runs()) == 30
    assert s.read_result("shared", 0)["seconds"] in (0.0, 1.0, 2.0)


# ------------------------------------------------------------------------------------------------------- lock


def _hold(root, held):
    with Store(root).lock("k", 0):
        held.set()
        signal.pause()


def test_lock_excludes_a_process_until_it_is_killed(tmp_path):
    s, held = Store(tmp_path), SPAWN.Event()
    other = SPAWN.Process(target=_hold, args=(tmp_path, held))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(Busy, match="another process"), s.lock("k", 0):
            pass
        with s.lock("k", 1):  # another seed is free
            pass
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.join(60)
    with s.lock("k", 0):
        pass


def test_lock_is_released_after_an_error_and_excludes_this_process_too(tmp_path):
    s = Store(tmp_path)
    with pytest.raises(RuntimeError), s.lock("k", 0):
        raise RuntimeError
    with s.lock("k", 0), pytest.raises(Busy), s.lock("k", 0):
        pass


# ------------------------------------------------------------------------------------------------------- runs


def test_runs_are_sorted_and_partial_ones_are_told(tmp_path, caplog):
    s = Store(tmp_path)
    for key, seed in [("b", 10), ("b", 2), ("a", 0)]:
        s.write_result(key, seed, result(seed))
    for key, seed, name in [("b", 3, "checkpoint.safetensors"), ("a", 1, ".lock")]:
        s.run_dir(key, seed).mkdir(parents=True)
        (s.run_dir(key, seed) / name).touch()
    (tmp_path / "b" / "notes").mkdir()
    (tmp_path / "README").touch()
    assert [(r["key"], r["seed"], r["status"]) for r in s.runs()] == [
        ("a", 0, "done"),
        ("b", 2, "done"),
        ("b", 3, "partial"),
        ("b", 10, "done"),
    ]


def test_listing_runs_imports_neither_pandas_nor_torch(tmp_path):
    Store(tmp_path).write_result("k", 0, result())
    code = (
        "import sys; from vaebench.results.store import Store; assert len(list(Store(sys.argv[1]).runs())) == 1; "
        "print(sorted({'pandas', 'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------ frame


def test_frame_has_a_row_per_metric_and_one_per_failure(tmp_path):
    s, c = Store(tmp_path), cell(published=113.1, label="quick", paper_protocol=False)
    s.write_result(c.key, 0, result())
    failed = {"status": "failed", "reason": "RuntimeError:\n  out of memory", "measures": [], "seconds": None}
    s.write_result(c.key, 1, result(1, **failed))
    s.run_dir(c.key, 2).mkdir()
    (s.run_dir(c.key, 2) / "checkpoint.safetensors").touch()
    f = s.frame([c], [0, 1, 2, 3])
    assert list(f.columns) == list(COLUMNS)
    assert list(zip(f["seed"], f["status"], f["metric"], strict=True)) == [
        (0, "done", "bound"),
        (0, "done", "iw_nll"),
        (1, "failed", ""),
        (2, "partial", ""),
    ]
    first = f.iloc[0]
    assert (first["value"], first["error"], first["points"], first["samples"]) == (30.5, 0.05, 297, 10)
    assert (first["data_hash"], first["torch"], first["commit"]) == ("8f3a12cdef", "2.13", "abc")
    assert (first["published"], first["paper_protocol"], first["label"], first["pack"]) == (113.1, False, "quick", 2)
    assert json.loads(f["extra"][1]) == {"1": 30.5, "10": 29.5}
    assert f["reason"][2] == "RuntimeError: out of memory"
    assert f["value"].isna().tolist() == [False, False, True, True]


def test_a_run_without_the_measure_of_its_cell_has_the_papers_signature_once(tmp_path):
    """Trained and not evaluated: the validation bound alone must not hide which data the paper has."""
    s, c = Store(tmp_path), cell(published=113.1, paper_protocol=False, paper_signature="data:mnist_static|split:test")
    both = result()["measures"]
    others = [{**m, "name": name} for m, name in zip(both, ("valid_bound", "iw_nll"), strict=True)]
    s.write_result(c.key, 0, result(measures=others))
    s.write_result(c.key, 1, result(1))
    f = s.frame([c], [0, 1])
    assert list(zip(f["metric"], f["paper_signature"], strict=True)) == [
        ("valid_bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
        ("bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
    ]
    assert f["published"].isna().tolist() == [True, True, False, True]


def test_frame_of_nothing_still_has_its_columns(tmp_path):
    f = Store(tmp_path).frame([cell()], [0])
    assert list(f.columns) == list(COLUMNS)
    assert len(f) == 0


def test_measure_of_another_evaluation_is_there_but_not_current(tmp_path):
    s, c = Store(tmp_path), cell()
    old = measure(value=28.0, points=100)
    s.write_result(c.key, 0, result(measures=[old, measure(value=31.0)]))
    f = s.frame([c], [0])
    assert f["value"].tolist() == [28.0, 31.0]
    assert f["extra"].tolist() == ['{"current": false}', ""]


@pytest.mark.parametrize(
    ("name", "samples", "old", "new", "current"),
    [
        ("bound", 10, "", "", True),
        ("bound", 5, "", "", False),
        ("kl", 5, "", "", False),
        ("iw_nll", 100, "", "", True),
        ("surprise", 5, "", "", True),  # no setting to differ from
        ("bound", 10, "points:all", "points:100", False),
        ("bound", 10, "data:digits", "data:mnist_static", False),
        ("bound", 10, "split:test", "split:valid", False),
        ("valid_bound", 10, "split:test", "split:valid", True),
        ("bound", 10, "recipe:1", "recipe:2", False),
        ("bound", 10, "|select", "|precision:bfloat16|select", False),
    ],
)
def test_is_current(name, samples, old, new, current):
    content = measure(name, samples=samples)
    content["signature"] = content["signature"].replace(old, new)
    assert is_current(cell(), store_module.Measure.from_dict(content)) is current


def test_damaged_measure_is_left_out_with_a_warning(tmp_path, caplog):
    s, c = Store(tmp_path), cell()
    s.write_result(c.key, 0, result(measures=[{"name": "bound"}, measure()]))
    assert s.frame([c], [0])["metric"].tolist() == ["bound"]
    assert "a measure is left out" in caplog.text


# -------------------------------------------------------------------------------------------------------- CSV


def frame_with_everything(root):
    s = Store(root)
    odd = cell('NA, "quoted" | 1_000', config=config(recipe=2), published=1 / 3)
    s.write_result(cell().key, 0, result(seconds=0.1 + 0.2))
    s.write_result(cell().key, 1, result(1, status="diverged", measures=[], updates=None, peak_memory_mb=math.nan))
    s.write_result(odd.key, 0, result(measures=[measure(value=math.nan), measure(value=1e-300, error=None)]))
    return s.frame([cell(), odd], [0, 1])


def test_csv_round_trip_is_equal(tmp_path):
    from pandas.testing import assert_frame_equal

    f = frame_with_everything(tmp_path)
    assert len(f) == 5
    write_csv(f, tmp_path / "new" / "out.csv")
    back = read_csv(tmp_path / "new" / "out.csv")
    assert_frame_equal(back, f, check_exact=True)
    assert csv_text(back) == csv_text(f)
    assert back["seconds"][0] == 0.1 + 0.2
    assert back["row"].iloc[-1] == 'NA, "quoted" | 1_000'
    empty = Store(tmp_path / "none").frame([], [])
    write_csv(empty, tmp_path / "empty.csv")
    assert_frame_equal(read_csv(tmp_path / "empty.csv"), empty)


def test_read_csv_says_what_is_wrong(tmp_path):
    path = tmp_path / "x.csv"
    with pytest.raises(UserError, match="no such file"):
        read_csv(path)
    path.write_text("")
    with pytest.raises(UserError, match=r"missing columns table, row, column and \d+ more$"):
        read_csv(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(UserError, match="not a results CSV"):
        read_csv(path)
    good = csv_text(frame_with_everything(tmp_path / "runs"))
    path.write_text(good.replace(",signature,", ",sign,", 1))
    with pytest.raises(UserError, match=r"missing columns signature$"):
        read_csv(path)
    path.write_text(good.replace("30.5,nats", "thirty,nats", 1))
    with pytest.raises(UserError, match="record 2: column value: 'thirty' is not a float64"):
        read_csv(path)
    path.write_text(good.rstrip("\n").rsplit(",", 3)[0] + "\n")
    with pytest.raises(UserError, match="record 6 has"):
        read_csv(path)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("extra", "{bad json", "column extra: '{bad json' is not a JSON object"),
        ("extra", "[1]", "column extra: '[1]' is not a JSON object"),
        ("seed", "1" * 23, "column seed: '11111111111111111111111' is not a int64"),
        ("points", "9" * 99, "column points: '99999"),
    ],
)
def test_a_damaged_cell_of_a_csv_is_named(tmp_path, column, value, words):
    frame = frame_with_everything(tmp_path / "runs")
    frame = frame.astype({column: object})
    frame.loc[0, column] = value
    (tmp_path / "x.csv").write_text(frame.to_csv(index=False))
    with pytest.raises(UserError) as caught:
        read_csv(tmp_path / "x.csv")
    assert f"record 2: {words}" in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 160
