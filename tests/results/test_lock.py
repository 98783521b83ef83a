"""Locks of run folders: who holds them, when they are stale, and that one process at a time breaks
and takes them."""

from __future__ import annotations

import errno
import io
import json
import logging
import multiprocessing
import os
import random
import re
import signal
import time
from dataclasses import asdict, replace

import pytest

from vaebench.results import lock
from vaebench.results.lock import Busy, Held, Holder, hold, holder_now

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "key" / "seed-0"


@pytest.fixture
def put(folder):
    """A lock as another process would have left it, ``silent`` seconds after
    its last sign of life."""

    def write(silent=0.0, content=None, **changes):
        holder = replace(lock._this_process(), **changes)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / lock.NAME
        path.write_text(json.dumps(asdict(holder)) if content is None else content)
        age(path, silent)
        return path

    return write


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def gone():
    """Return the number of a process that has ended."""
    process = SPAWN.Process(target=int)
    process.start()
    process.join()
    return process.pid


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# --------------------------------------------------------------------------------- one that is held


def test_a_lock_says_who_holds_it_and_leaves_nothing(folder):
    with hold(folder) as held:
        assert names(folder) == [".lock"]

        holder = Holder(**json.loads((folder / ".lock").read_text()))
        assert holder == held.holder
        assert holder.process == os.getpid()
        assert not held.lost

    assert names(folder) == []


@pytest.mark.parametrize(
    ("silent", "changes"),
    [
        (0.0, {"token": "other"}),  # another part of this process
        (10 * lock.STALE_SECONDS, {"token": "other"}),  # it is stopped, or asleep, but it is there
        (0.5 * lock.STALE_SECONDS, {"host": "far"}),
        (0.5 * lock.STALE_SECONDS, {"space": "pid:[1]"}),  # a container on this machine
        (-3600.0, {"host": "far"}),
    ],
)
def test_one_whose_holder_lives_is_respected(folder, put, silent, changes):
    path = put(silent, **changes)
    before = path.read_text()

    with (
        pytest.raises(Busy, match=r"another process works on this run \(process \d+ on "),
        hold(folder),
    ):
        pass

    assert names(folder) == [".lock"]
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("silent", "changes", "why"),
    [
        (0.0, {"process": gone}, r"process \d+ on \S+ is gone"),
        # Another process has its number now.
        (0.0, {"born": "earlier"}, r"process \d+ on \S+ is gone"),
        (
            lock.STALE_SECONDS + 60,
            {"host": "far"},
            r"process \d+ on far has shown no sign of life for 11.0 min",
        ),
        (lock.STALE_SECONDS + 60, {"space": "pid:[1]"}, "no sign of life for 11.0 min"),
        # As an earlier version, or a process that was killed while it wrote, leaves it.
        (lock.BREAK_SECONDS + 60, {"content": ""}, "it does not say who holds it"),
        (lock.BREAK_SECONDS + 60, {"content": '{"host": 3'}, "it does not say who holds it"),
    ],
)
def test_a_stale_one_is_broken_with_a_line_that_says_so(folder, put, silent, changes, why, caplog):
    put(silent, **{k: v() if callable(v) else v for k, v in changes.items()})
    with caplog.at_level(logging.WARNING), hold(folder) as held:
        assert lock._read(held.path) == held.holder
        assert names(folder) == [".lock"]

    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{folder}: a stale lock is broken: ")
    assert names(folder) == []
    assert re.search(why, caplog.messages[0])


def test_who_holds_a_folder_is_known_without_writing_there(folder, put):
    assert holder_now(folder) is None

    with hold(folder) as held:
        assert holder_now(folder) == held.holder
        assert names(folder) == [".lock"]

    assert holder_now(folder) is None

    put(process=gone())
    assert holder_now(folder) is None

    put(host="far", process=gone())
    assert holder_now(folder).host == "far"


def test_a_process_in_its_first_moment_is_respected_without_a_name(folder, put):
    put(1.0, content="")
    with pytest.raises(Busy), hold(folder):
        pass


def test_one_that_an_earlier_version_holds_is_respected(folder, put):
    import fcntl

    # Earlier versions left the file empty and let the system lock it.
    path = put(10 * lock.STALE_SECONDS, content="")

    with path.open("r+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(Busy), hold(folder):
            pass

    with hold(folder):
        pass


def test_the_age_is_measured_by_the_clock_of_the_file_system_alone(folder, put, monkeypatch):
    put(0.0, host="far")
    # The clock of this host is far ahead, in the year 2096: by it the lock would be stale.
    monkeypatch.setattr(time, "time", lambda: 4e9)

    with pytest.raises(Busy), hold(folder):
        pass


# --------------------------------------------------------------------------------------- heartbeats


def test_a_heartbeat_keeps_a_lock_alive(folder, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    # A new heart: the thread of the old one may be in the middle of a long pause.
    monkeypatch.setattr(lock, "_heart", lock._Heart())

    with hold(folder) as held:
        # The next beat sets the time to the present again; 20 seconds are ample for it.
        age(held.path, 5000)
        end = time.monotonic() + 20
        while time.time() - held.path.stat().st_mtime > 1000:
            assert time.monotonic() < end
            time.sleep(0.01)

        assert not held.lost


def test_one_that_was_taken_is_lost_and_is_not_released(folder, put):
    with hold(folder) as held:
        held.beat()
        assert not held.lost

        path = put(token="of another")
        held.beat()

        assert held.lost

    assert path.exists()


def test_one_whose_file_is_gone_is_lost(folder):
    with hold(folder) as held:
        held.path.unlink()
        held.beat()
        assert held.lost


# --------------------------------------------------------------------------------- odd file systems


def test_without_hard_links_a_lock_excludes_all_the_same(folder, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with hold(folder), pytest.raises(Busy), hold(folder):
        pass
    assert names(folder) == []


def test_a_link_whose_answer_was_lost_is_found(folder, monkeypatch):
    link = os.link

    def late(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", late)
    with hold(folder) as held:
        assert lock._read(held.path) == held.holder


@pytest.mark.parametrize("links", [True, False])
def test_on_a_full_disk_nothing_is_left_of_a_lock(folder, monkeypatch, links):
    """Neither a draft nor, without hard links, a lock that names no holder."""

    def refuse(*of):
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    open_path = type(folder).open

    def open_(path, mode="r", *more, **named):
        # With hard links the draft cannot be written; without them the draft can, but not the
        # lock itself.
        full = mode == "x" and (links or path.name == lock.NAME)
        if not full:
            return open_path(path, mode, *more, **named)

        open_path(path, mode).close()
        return Full()

    monkeypatch.setattr(type(folder), "open", open_)
    # What a failed try leaves would be in the way of the next.
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"), hold(folder):
            pass

    assert list(folder.iterdir()) == []

    monkeypatch.undo()
    with hold(folder):
        assert [p.name for p in folder.iterdir()] == [lock.NAME]


def test_what_killed_processes_left_is_swept(folder, put):
    put(process=gone())
    for name in (".lock-0123", ".lock-0123.old", ".lock.breaking"):
        (folder / name).touch()
        age(folder / name, lock.STALE_SECONDS + 10)

    # The file of a process that died while it broke the lock is in the way once.
    with pytest.raises(Busy), hold(folder):
        pass

    with hold(folder):
        assert names(folder) == [".lock"]


# ------------------------------------------------------------------------- real processes that race


def _note_turn(log_file, seconds):
    """Add a line 'in' to a file and, a while later, a line 'out'."""
    with open(log_file, "a") as f:
        f.write(f"in {os.getpid()}\n")

    time.sleep(seconds)
    with open(log_file, "a") as f:
        f.write(f"out {os.getpid()}\n")


def _race(folder, go, log_file, rounds):
    """Take the lock again and again, and note each turn."""
    logging.disable()
    go.wait(60)
    turns = 0
    while turns < rounds:
        try:
            with hold(folder):
                _note_turn(log_file, 0.0005)
                turns += 1
        except Busy:
            time.sleep(0.0002)


def test_two_processes_never_hold_it_together(folder, tmp_path):
    pairs = raced(folder, tmp_path / "log", rounds=100)
    assert len(pairs) == 200


def raced(folder, log_file, rounds):
    """The pairs of lines that two racing processes wrote."""
    go = SPAWN.Event()
    racers = [SPAWN.Process(target=_race, args=(folder, go, log_file, rounds)) for _ in range(2)]
    for r in racers:
        r.start()

    go.set()
    for r in racers:
        r.join(120)

    assert [r.exitcode for r in racers] == [0, 0]

    lines = log_file.read_text().split("\n")[:-1]
    # Two processes that held it together would write in, in, out, out.
    pairs = list(zip(lines[::2], lines[1::2], strict=True))

    assert all(a.startswith("in") and b == a.replace("in", "out") for a, b in pairs)

    return pairs


def _die_holding(folder):
    held = hold(folder)
    held.__enter__()
    os.kill(os.getpid(), signal.SIGKILL)


def _break_again_and_again(folder, go, log_file, rounds):
    """Take the lock, put a stale one in its place on the way out, so that every
    turn has one to break.

    What is found stale is broken a while later, so that the other has often broken
    and taken it meanwhile.
    """
    logging.disable()
    judge = lock._stale

    def late_judgement(*of):
        why = judge(*of)
        time.sleep(random.random() * 0.004)
        return why

    lock._stale = late_judgement
    go.wait(60)
    turns = 0
    while turns < rounds:
        try:
            with hold(folder) as held:
                _note_turn(log_file, 0.001)
                turns += 1
                # The same process number with another start: that process is gone.
                stale = held.path.with_name("stale")
                stale.write_text(
                    json.dumps(
                        asdict(replace(held.holder, born="earlier", token=os.urandom(4).hex()))
                    )
                )
                os.replace(stale, held.path)
        except Busy:
            pass


def test_a_stale_lock_is_broken_by_one_of_two_racing_processes(folder, tmp_path, put, monkeypatch):
    put(process=gone())
    # ``raced`` looks the function of its processes up by this name.
    monkeypatch.setitem(globals(), "_race", _break_again_and_again)

    assert len(raced(folder, tmp_path / "log", rounds=100)) == 200


def test_a_killed_process_leaves_a_lock_that_is_broken_at_once(folder):
    process = SPAWN.Process(target=_die_holding, args=(folder,))
    process.start()
    process.join(60)

    assert names(folder) == [".lock"]

    with hold(folder) as held:
        assert isinstance(held, Held)
