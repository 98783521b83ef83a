"""The index of a large store: it answers as if everything were read anew each time, and may be
thrown away without harm."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vaebench.config import catalogue
from vaebench.config.catalogue import load_preset, load_table
from vaebench.config.compose import cells
from vaebench.report import stored
from vaebench.results import digest, earlier_runs, index, listing
from vaebench.results.costs import estimate
from vaebench.results.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where indices are kept; every store is large."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "LARGE", 1)
    return tmp_path / "cache" / "vaebench" / "stores"


@pytest.fixture
def made(tmp_path):
    """A store of 40 runs of all tables."""
    script = [
        sys.executable,
        ROOT / "scripts" / "simulated_store.py",
        tmp_path / "runs",
        "--runs",
        "40",
    ]
    subprocess.run([*script, "--seeds", "2"], check=True, capture_output=True)
    settle(tmp_path / "runs")
    return Store(tmp_path / "runs")


def settle(root):
    """Set all times back, so that no change is too recent for the index to trust its time."""
    past = time.time() - 100
    for path in (*root.rglob("*.json"), *root.iterdir()):
        os.utime(path, (past, past))


def known(store):
    """All answers of the index of a store, which is made or brought up to date."""
    with index.opened(store) as runs:
        return answers(runs, store)


def answers(runs, store):
    keys = sorted(p.name for p in store.root.iterdir())
    tables = {name: runs.others(name, set(keys[:3])) for name in catalogue.options("table")}
    lists = runs.listing(), runs.outdated(), runs.presets(), sorted(runs.runs())
    return tables, *lists, sorted(map(json.dumps, runs.costs(keys)))


def anew(store):
    """The same answers, read from the runs without an index."""
    runs = index.Index(store, None)
    try:
        return answers(runs, store)
    finally:
        runs.close()


@pytest.fixture
def reads(monkeypatch):
    """A log of what is read: (key, seed) for each result, the key for the notes of each folder."""
    log = []
    result = index.Index._result
    notes = index.Index._notes
    monkeypatch.setattr(
        index.Index, "_result", lambda self, *of: log.append(of) or result(self, *of)
    )
    monkeypatch.setattr(
        index.Index, "_notes", lambda self, *of: log.append(of[0]) or notes(self, *of)
    )
    return log


def test_what_has_not_changed_is_not_read_again(cache, made, reads):
    first_answers = known(made)
    # The results of 40 runs, and the notes of their 20 folders.
    assert len(reads) == 60
    assert first_answers == anew(made)

    reads.clear()
    assert known(made) == first_answers
    assert reads == []
    assert len(list(cache.iterdir())) == 1


def change(how, store):
    folder = sorted(store.root.glob("*/seed-1"))[3]
    key = folder.parent.name
    result = json.loads((folder / "result.json").read_text())
    note = json.loads((folder / "config.json").read_text())

    if how == "new result":
        store.write_result(key, 1, {**result, "status": "done", "updates": 7})
    elif how == "edited by hand":
        (folder / "result.json").write_text(json.dumps({**result, "updates": 77}))
    elif how == "gone":
        shutil.rmtree(folder)
    elif how == "all gone":
        shutil.rmtree(folder.parent)
    elif how == "another seed":
        shutil.copytree(folder, folder.with_name("seed-9"))
    elif how == "another cell":
        shutil.copytree(folder.parent, store.root / "digits-sbn3-nvil-0123456789")
    elif how == "no result":
        (folder / "result.json").unlink()
        (folder / "checkpoint.safetensors").touch()
    elif how == "damaged":
        (folder / "result.json").write_text("{")
    elif how == "begun anew for another table":
        from vaebench.training import resume

        # Give the cell of another table the folder of this run: ``key`` is a cached property.
        other_cell = cells(load_table("nvil_autoreg"), load_preset("short"))[0]
        other_cell.__dict__["key"] = key
        resume.prepare(store, other_cell, 1, note["data_hash"], force=True)


CHANGES = [
    *(
        "new result",
        "edited by hand",
        "gone",
        "all gone",
        "another seed",
        "another cell",
        "no result",
        "damaged",
    ),
    "begun anew for another table",
]


@pytest.mark.parametrize("how", CHANGES)
def test_what_has_changed_is(cache, made, how):
    before = known(made)
    change(how, made)
    after = known(made)

    assert after != before
    assert after == anew(made)
    assert known(made) == after


def test_a_change_in_the_moment_of_reading_is_not_missed(cache, made):
    known(made)
    path = next(made.root.glob("*/seed-0/result.json"))
    result = json.loads(path.read_text())

    for updates in (11, 22):  # of the same size, and within one tick of a coarse clock
        path.write_text(json.dumps({**result, "updates": updates}))
        stamp = path.stat()
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns // 10**9 * 10**9))

        assert known(made) == anew(made)


def test_a_seed_added_in_the_moment_of_reading_is_not_missed(cache, made):
    """The time of its cell's folder does not show it, as within one tick of a coarse clock."""
    folder = min(p for p in made.root.iterdir() if (p / "seed-1").exists())
    # The folder has just changed when it is read, and changes again at the same time.
    shutil.copytree(folder / "seed-1", folder / "seed-8")
    stamp = folder.stat()
    before = known(made)
    shutil.copytree(folder / "seed-1", folder / "seed-9")
    os.utime(folder, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = known(made)

    assert after == anew(made)
    assert after != before


def test_another_code_makes_it_anew(cache, made, reads, monkeypatch):
    known(made)
    reads.clear()
    monkeypatch.setattr(digest, "code", lambda: "another")
    known(made)

    assert len(reads) == 60


@pytest.mark.parametrize("how", ["removed", "damaged", "a folder", "in use"])
def test_without_it_everything_is_read(cache, made, how, monkeypatch):
    first_answers = known(made)
    (path,) = cache.iterdir()
    if how in ("removed", "a folder"):
        path.unlink()
    if how == "a folder":
        path.mkdir()
    if how == "damaged":
        path.write_bytes(b"nonsense" * 1000)
    if how == "in use":
        # Do not wait long for the other command, which never lets go.
        connect = sqlite3.connect
        monkeypatch.setattr(
            sqlite3, "connect", lambda *of, **more: connect(*of, **{**more, "timeout": 0.01})
        )
        other_command = sqlite3.connect(path)
        other_command.execute("begin exclusive")

    # Twice: also with the index that the first time leaves.
    assert known(made) == first_answers
    assert known(made) == first_answers


def test_one_that_another_command_keeps_busy_is_left_alone(cache, made, monkeypatch):
    """The other command begins to write once this one has opened the index."""
    first_answers = known(made)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    monkeypatch.setattr(index, "PATIENCE_SECONDS", 0.01)

    with index.opened(made) as runs:
        other_command = sqlite3.connect(path)
        other_command.execute("begin exclusive")
        assert answers(runs, made) == first_answers

    other_command.rollback()
    assert path.read_bytes() == content


def test_one_that_breaks_later_is_made_anew(cache, made):
    known(made)
    (path,) = cache.iterdir()
    # Overwrite the root page of the table of runs alone: the index opens without complaint, and
    # fails when it is asked.
    page, page_size = (
        sqlite3.connect(path).execute(what).fetchone()[0]
        for what in ("select rootpage from sqlite_master where name = 'runs'", "pragma page_size")
    )
    with path.open("r+b") as f:
        f.seek((page - 1) * page_size)
        f.write(b"\1" * page_size)

    assert known(made) == anew(made)

    check = sqlite3.connect(path).execute("pragma integrity_check").fetchall()
    assert check == [("ok",)]


def test_a_small_store_keeps_nothing(tmp_path, made, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known(made)
    assert not (tmp_path / "cache").exists()


def test_a_store_that_is_not_there_has_no_runs(cache, tmp_path):
    assert known_of_nothing(Store(tmp_path / "nowhere")) == ([], [], [], [])


def known_of_nothing(store):
    with index.opened(store) as runs:
        return (
            runs.listing(),
            runs.others("nvil_mnist", set()),
            runs.outdated(),
            runs.costs(["a-b-c"]),
        )


def test_lists_reports_and_plans_read_it(cache, made, reads):
    # A header and 40 runs.
    assert len(listing.runs(made)) == 41
    assert earlier_runs.found_outdated(made, {"a": None}) == ""

    table = json.loads(min(made.root.glob("*/seed-0/config.json")).read_text())["table"]
    with index.opened(made) as runs:
        cell = next(
            c
            for c in cells(load_table(table), load_preset("paper"))
            if c.key == min(os.listdir(made.root))
        )
        assert estimate(runs.costs([cell.key]), cell) is not None

    assert sum(other.count for other in stored.others(made, table, set())) > 0
    # Four commands have asked, and each result was read once.
    assert len([r for r in reads if isinstance(r, tuple)]) == 40


def test_runs_and_presets_of_a_store(made, cache):
    folders = sorted(made.root.glob("*/seed-*"))
    note = folders[0] / "config.json"
    note.write_text(note.read_text().replace('"preset": "paper"', '"preset": "quick"'))
    (folders[1] / "config.json").write_text("damaged")

    with index.opened(made) as runs:
        assert runs.presets() == {"paper", "quick"}
        assert sorted(runs.runs()) == [
            (f.parent.name, int(f.name.partition("-")[2])) for f in folders
        ]


def test_a_damaged_note_is_a_warning_once_and_a_missing_one_is_none(tmp_path, caplog):
    store = Store(tmp_path)
    for seed in range(2):
        store.write_result("a-b-c", seed, {"status": "done", "reason": "", "measures": []})

    # Seed 0 has no note, that of seed 1 is damaged.
    (tmp_path / "a-b-c" / "seed-1" / "config.json").write_text("{")

    for _ in range(2):
        with index.opened(store) as runs:
            assert [about for *_, about, _ in runs.listing()] == ["-", "-"]

    (message,) = caplog.messages
    assert "seed-1/config.json: damaged, so what was trained is unknown" in message
