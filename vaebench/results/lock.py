"""Locks of run folders that hold between processes and between hosts, also on network file systems.

A lock is a file that says who holds it: host, process and a token. It is written whole beside its
place and put there by a hard link, which either one process gets or another. While it is held, its
time of modification is renewed every HEARTBEAT_SECONDS by the clock of the file system, so clocks
of hosts need not agree.

A lock is stale if its process ran on this host and is gone, or if it ran on another one and has
been silent for STALE_SECONDS. Whoever wants it breaks it then, and says so.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vaebench.errors import UserError
from vaebench.files import parse_json
from vaebench.formatting import duration

log = logging.getLogger(__name__)

NAME = ".lock"
"""Of the file in a run's folder."""

HEARTBEAT_SECONDS = 30.0
"""How often the holder of a lock shows that it is alive."""

STALE_SECONDS = 600.0
"""After so long without a sign of life the holder on another host is taken as dead."""

BREAK_SECONDS = 60.0
"""What a process may take to break a lock, which is a matter of milliseconds; also the age from
which a file without a holder is taken as left over."""


class Busy(UserError):
    """Another process holds the lock of this run."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: Name of the machine.
        space: Which numbering of processes it is in: containers on one machine have their own. ''
            where unknown.
        process: Its number.
        born: When it began, as the system counts, so that a later process of the same number is
            another one. '' where unknown.
        token: Different for every lock that was ever taken.
    """

    host: str
    space: str
    process: int
    born: str
    token: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class Held:
    """A lock while this process holds it.

    Attributes:
        lost: Whether another process has taken it, because this one was silent for too long. It
            must write no more.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self.lost = False

    def beat(self) -> None:
        """Show that the process is alive, or notice that the lock is lost."""
        try:
            mine = _read(self.path) == self.holder
            if mine:
                os.utime(self.path)
            self.lost = not mine
        except FileNotFoundError:
            self.lost = True
        except OSError as e:  # a file server that does not answer: the next time
            log.debug("%s: %s", self.path, e)

    def release(self) -> None:
        """Remove the lock, if it is still this process's own."""
        # The folder was moved, or the server is gone: it becomes stale.
        with contextlib.suppress(OSError):
            if _read(self.path) == self.holder:
                self.path.unlink()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[Held]:
    """Hold a folder, which is made, for the time of the block.

    Raises:
        Busy: If another process, or another part of this one, holds it.
        OSError: If nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = Held(folder / NAME, _this_process())
    _acquire(held)
    _heart.add(held)
    try:
        yield held
    finally:
        _heart.remove(held)
        held.release()


def holder_now(folder: Path) -> Holder | None:
    """Who holds a folder, as far as is known without writing there.

    None for nobody, or a process of here that is gone. Raises OSError if the lock cannot be read.
    """
    holder = _holder_of(folder / NAME)
    gone = holder is not None and _is_of_here(holder) and not _alive(holder)
    return None if gone else holder


# ------------------------------------------------------------------------------------------ take it


def _acquire(held: Held) -> None:
    """Put the lock in its place. Raises Busy; OSError."""
    path = held.path
    draft = path.with_name(f"{NAME}-{held.holder.token}")
    with draft.open("x") as f:
        f.write(json.dumps(asdict(held.holder)))
    try:
        if not _link(draft, path):
            _break_stale(path, draft)
            if not _link(draft, path):
                raise _busy(path, _holder_of(path))
        _sweep(path.parent, draft)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> bool:
    """Put ``draft`` at ``path`` as well, unless something is there; in one step.

    Whether it is there now.
    """
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        # A server may have done it and its answer was lost: then the second try
        # finds the first one's work.
        return draft.stat().st_nlink > 1 and path.exists() and path.samefile(draft)
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create(draft, path)


def _create(draft: Path, path: Path) -> bool:
    """The same on a file system without hard links.

    The file is there in one step, what it says a moment later.
    """
    try:
        with path.open("x") as f:
            f.write(draft.read_text())
        return True
    except FileExistsError:
        return False


def _sweep(folder: Path, draft: Path) -> None:
    """Remove what processes that were killed while they took a lock have left."""
    for left in folder.glob(f"{NAME}[-.]*"):
        with contextlib.suppress(OSError):
            if left != draft and _age(left, draft) > STALE_SECONDS:
                left.unlink()


# ----------------------------------------------------------------------------------------- break it


def _break_stale(path: Path, draft: Path) -> None:
    """Remove the lock at ``path`` if it is stale.

    Raises Busy where it is not, or where another process breaks it.
    """
    holder = _holder_of(path)
    if not _stale(path, holder, draft):
        raise _busy(path, holder)

    # One process at a time breaks: a second one, which has read the stale lock as well, would break
    # the lock that the first one takes.
    breaking = path.with_name(f"{NAME}.breaking")
    if not _link(draft, breaking):
        with contextlib.suppress(OSError):
            if _age(breaking, draft) > BREAK_SECONDS:
                _remove(breaking, _holder_of(breaking), draft)
        raise _busy(path, holder)

    try:
        why = _stale(path, holder, draft)
        if _holder_of(path) == holder and why and _remove(path, holder, draft):
            log.warning("%s: a stale lock is broken: %s", path.parent, why)
    finally:
        breaking.unlink(missing_ok=True)


def _remove(path: Path, holder: Holder | None, draft: Path) -> bool:
    """Remove the file at ``path`` if it is still ``holder``'s; another one is put back.

    Whether it is removed.
    """
    aside = path.with_name(f"{draft.name}.old")
    try:
        os.rename(path, aside)
    except FileNotFoundError:  # it was released in this moment
        return False
    removed = _holder_of(aside) == holder
    if not removed:
        _link(aside, path)
    aside.unlink()
    return removed


def _stale(path: Path, holder: Holder | None, draft: Path) -> str:
    """Why the lock at ``path`` is stale, in words; '' where it is not.

    Args:
        path: The lock.
        holder: Who holds it; None where the file does not say.
        draft: A file that was written a moment ago, by which the time of the file system is known.
    """
    try:
        silent = _age(path, draft)
    except FileNotFoundError:
        return ""

    if holder is None:
        left = silent > BREAK_SECONDS and not _held_by_earlier_version(path)
        return "it does not say who holds it" if left else ""

    if _is_of_here(holder):
        return "" if _alive(holder) else f"{holder} is gone"
    return (
        f"{holder} has shown no sign of life for {duration(silent)}"
        if silent > STALE_SECONDS
        else ""
    )


def _age(path: Path, draft: Path) -> float:
    """Seconds from the last change of ``path`` to that of ``draft``.

    Both by the clock of the file system.
    """
    return draft.stat().st_mtime - path.stat().st_mtime


def _held_by_earlier_version(path: Path) -> bool:
    """Earlier versions locked an empty file by the system, and left it there."""
    try:
        import fcntl
    except ImportError:
        return False
    with path.open("rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _busy(path: Path, holder: Holder | None) -> Busy:
    who = f" ({holder})" if holder else ""
    return Busy(f"{path.parent}: another process works on this run{who}; wait for it or stop it")


# ----------------------------------------------------------------------------------- who holds what


def _read(path: Path) -> Holder | None:
    """Who holds the lock at ``path``; None where it does not say. Raises OSError."""
    try:
        content = parse_json(path.read_bytes())
        return Holder(**{**content, "process": int(content["process"])})
    except (ValueError, TypeError, KeyError):
        return None


def _holder_of(path: Path) -> Holder | None:
    """The same, and None also where nothing is there."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None


def _this_process() -> Holder:
    process = os.getpid()
    return Holder(socket.gethostname(), _space(), process, _born(process), os.urandom(8).hex())


def _is_of_here(holder: Holder) -> bool:
    """Whether the system here knows a holder's process by its number."""
    here = _this_process()
    return (holder.host, holder.space) == (here.host, here.space)


def _alive(holder: Holder) -> bool:
    """Whether a process of this host still runs."""
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's, of which the system may show nothing more
        return _born(holder.process) in ("", holder.born)
    return _born(holder.process) == holder.born


def _born(process: int) -> str:
    """The start of a process, different after a restart of the machine.

    '' where it is gone, or the system is silent. A process that has ended and that nobody has asked
    for its end ("zombie") is gone.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


class _Heart:
    """One thread that renews all locks of this process."""

    def __init__(self) -> None:
        self._held: list[Held] = []
        self._guard = threading.Lock()
        self._pause = threading.Event()
        self._owner = 0

    def add(self, held: Held) -> None:
        with self._guard:
            self._held.append(held)
            if self._owner == os.getpid():
                return
            self._owner = os.getpid()  # threads do not survive a fork
        threading.Thread(target=self._run, name="locks", daemon=True).start()

    def remove(self, held: Held) -> None:
        with self._guard:
            self._held.remove(held)

    def _run(self) -> None:
        while not self._pause.wait(HEARTBEAT_SECONDS):
            with self._guard:
                held = list(self._held)
            for lock in held:
                lock.beat()


_heart = _Heart()
