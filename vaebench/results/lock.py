"""Locks of run folders that hold between processes and between hosts, also on network file systems.

A lock is a file that names its holder: host, process and a token. It is written whole beside its
place and put there by a hard link, which only one process can make. While the lock is held, its
time of modification is renewed every HEARTBEAT_SECONDS by the clock of the file system, so the
clocks of hosts need not agree.

A lock is stale if its process ran on this host and no longer exists, or if it ran on another host
and has been silent for STALE_SECONDS. The next process that wants a stale lock breaks it, and says
so.
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
"""Name of the lock file in a run's folder."""

HEARTBEAT_SECONDS = 30.0
"""How often the holder of a lock shows that it is alive."""

STALE_SECONDS = 600.0
"""Silence after which a holder on another host counts as dead."""

BREAK_SECONDS = 60.0
"""Limit of the time that a process may take to break a lock, which needs milliseconds. It is also
the age from which a file without a holder counts as left over."""


class Busy(UserError):
    """Another process holds the lock of this run."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lock.

    Attributes:
        host: Name of the machine.
        space: The namespace of its process numbers, as containers on one machine have their own. ''
            if not known.
        process: Its process number.
        born: When the process began, as the system counts, which distinguishes it from a later
            process of the same number. '' if not known.
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
        lost: Whether another process has taken it, because this one was silent for too long. Then
            this one must not write any more.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self.lost = False

    def beat(self) -> None:
        """Show that the process is alive, or notice that the lock is lost."""
        try:
            still_mine = _read(self.path) == self.holder
            if still_mine:
                os.utime(self.path)
            self.lost = not still_mine
        except FileNotFoundError:
            self.lost = True
        except OSError as e:  # a file server that does not answer: try again at the next beat
            log.debug("%s: %s", self.path, e)

    def release(self) -> None:
        """Remove the lock if it is still this process's own."""
        # If the folder was moved or the server is gone, the lock stays and becomes stale.
        with contextlib.suppress(OSError):
            if _read(self.path) == self.holder:
                self.path.unlink()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[Held]:
    """Create and hold a folder for the time of the block.

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
        # The heart first: a beat after the release would find no file and call the lock lost.
        _heart.remove(held)
        held.release()


def holder_now(folder: Path) -> Holder | None:
    """Return the holder of a folder, as far as is known without writing there.

    None if nobody holds it, or a process of this host that no longer exists. Raises OSError if the
    lock cannot be read.
    """
    holder = _holder_of(folder / NAME)

    # Silence is not judged here. It is measured against the clock of the file system, and that
    # needs a file written there (see ``_age``).
    gone = holder is not None and _is_of_here(holder) and not _alive(holder)
    return None if gone else holder


# ------------------------------------------------------------------------------------------ take it


def _acquire(held: Held) -> None:
    """Put the lock in its place. Raises Busy or OSError."""
    path = held.path

    # The lock must appear together with its content, so it is written as a draft and linked.
    draft = path.with_name(f"{NAME}-{held.holder.token}")
    try:
        with draft.open("x") as f:
            f.write(json.dumps(asdict(held.holder)))

        # If a stale lock was broken, a third process may still be the first to take the free place.
        if not _link(draft, path):
            _break_stale(path, draft)
            if not _link(draft, path):
                raise _busy(path, _holder_of(path))
        _sweep(path.parent, draft)
    finally:
        # Also if it could not be written whole, because the disk is full.
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> bool:
    """Put ``draft`` at ``path`` too, in one step, unless something is there.

    Returns whether ``draft`` is there now.
    """
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        # A server may have made the link while its answer was lost. Then the second try finds
        # what the first one did.
        return draft.stat().st_nlink > 1 and path.exists() and path.samefile(draft)
    except OSError as e:
        # These mean that the file system has no hard links, or allows no more of them.
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create(draft, path)


def _create(draft: Path, path: Path) -> bool:
    """Do the same on a file system without hard links.

    The file appears in one step, but its content a moment later.
    """
    content = draft.read_text()
    try:
        f = path.open("x")
    except FileExistsError:
        return False

    try:
        with f:
            f.write(content)
    except BaseException:  # the disk is full: leave no lock without a holder
        path.unlink(missing_ok=True)
        raise
    return True


def _sweep(folder: Path, draft: Path) -> None:
    """Remove files left by processes that were killed while they took a lock."""
    for leftover in folder.glob(f"{NAME}[-.]*"):
        with contextlib.suppress(OSError):
            if leftover != draft and _age(leftover, draft) > STALE_SECONDS:
                leftover.unlink()


# ----------------------------------------------------------------------------------------- break it


def _break_stale(path: Path, draft: Path) -> None:
    """Remove the lock at ``path`` if it is stale.

    Raises Busy if it is not, or if another process is breaking it.
    """
    holder = _holder_of(path)
    if not _stale(path, holder, draft):
        raise _busy(path, holder)

    # Only one process at a time may break a lock. A second one, which has also read the stale lock,
    # would break the new lock of the first one.
    breaking = path.with_name(f"{NAME}.breaking")
    if not _link(draft, breaking):
        # If the other one takes too long, it was killed while it broke the lock. Its file is
        # removed for the next attempt; this one gives up in any case.
        with contextlib.suppress(OSError):
            if _age(breaking, draft) > BREAK_SECONDS:
                _remove(breaking, _holder_of(breaking), draft)
        raise _busy(path, holder)

    # Judge again: the holder may have shown itself, or another process may have broken the lock and
    # taken it, before this one was allowed to break it.
    try:
        reason = _stale(path, holder, draft)
        if _holder_of(path) == holder and reason and _remove(path, holder, draft):
            log.warning("%s: a stale lock is broken: %s", path.parent, reason)
    finally:
        breaking.unlink(missing_ok=True)


def _remove(path: Path, holder: Holder | None, draft: Path) -> bool:
    """Remove the file at ``path`` if it is still ``holder``'s; any other is put back.

    Returns whether it was removed.
    """
    # Move first, look afterwards. Between a look and an unlink the file could become another
    # process's; once it is moved to a name of our own, nobody else touches it.
    aside = path.with_name(f"{draft.name}.old")
    try:
        os.rename(path, aside)
    except FileNotFoundError:  # it was released at this moment
        return False

    removed = _holder_of(aside) == holder
    if not removed:
        _link(aside, path)
    aside.unlink()
    return removed


def _stale(path: Path, holder: Holder | None, draft: Path) -> str:
    """Return why the lock at ``path`` is stale, in words; '' if it is not.

    Args:
        path: The lock.
        holder: Its holder; None if the file does not say.
        draft: A file written a moment ago. Its time is the present time of the file system.
    """
    try:
        silence = _age(path, draft)
    except FileNotFoundError:
        return ""

    # No name in it: a lock of an earlier version, or of a process that has just made the file
    # without a hard link and not written its name yet (see ``_create``).
    if holder is None:
        abandoned = silence > BREAK_SECONDS and not _held_by_earlier_version(path)
        return "it does not say who holds it" if abandoned else ""

    # A process of this host can be looked up. Of one elsewhere only its heartbeat is known.
    if _is_of_here(holder):
        return "" if _alive(holder) else f"{holder} is gone"
    return (
        f"{holder} has shown no sign of life for {duration(silence)}"
        if silence > STALE_SECONDS
        else ""
    )


def _age(path: Path, draft: Path) -> float:
    """Return the seconds from the last change of ``path`` to that of ``draft``.

    Both times are by the clock of the file system.
    """
    return draft.stat().st_mtime - path.stat().st_mtime


def _held_by_earlier_version(path: Path) -> bool:
    """Whether an earlier version holds the lock: they let the system lock an empty file."""
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
    """Return the holder of the lock at ``path``; None if it does not say. Raises OSError."""
    try:
        content = parse_json(path.read_bytes())
        return Holder(**{**content, "process": int(content["process"])})
    except (ValueError, TypeError, KeyError):
        return None


def _holder_of(path: Path) -> Holder | None:
    """Return the holder of the lock at ``path``; None also if there is no lock."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None


def _this_process() -> Holder:
    process = os.getpid()
    return Holder(socket.gethostname(), _space(), process, _born(process), os.urandom(8).hex())


def _is_of_here(holder: Holder) -> bool:
    """Whether the holder's process number is one of the system here."""
    this_process = _this_process()
    return (holder.host, holder.space) == (this_process.host, this_process.space)


def _alive(holder: Holder) -> bool:
    """Whether a process of this host still runs."""
    try:
        os.kill(holder.process, 0)  # signal 0 is not sent; it only asks whether the process exists
    except ProcessLookupError:
        return False
    except OSError:  # another user's process, about which the system may not say more
        return _born(holder.process) in ("", holder.born)

    # The system reuses the numbers of processes, so a later process may have this one.
    return _born(holder.process) == holder.born


def _born(process: int) -> str:
    """Return the start of a process, which is different after a restart of the machine.

    '' if the process no longer exists, or the system does not say. A process that has ended but
    that nobody has waited for (a "zombie") no longer exists.
    """
    # proc_pid_stat(5): the second field is the program's name in brackets, which may hold blanks
    # and brackets itself. Behind the last bracket follow the state (field 3, here fields[0]) and
    # later the start in clock ticks since boot (field 22, here fields[19]).
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _space() -> str:
    """Return the namespace of this process's number; '' if the system does not tell it."""
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
            # A copy, because a beat may wait for a file server and must not block ``add``.
            with self._guard:
                held = list(self._held)
            for lock in held:
                lock.beat()


_heart = _Heart()
