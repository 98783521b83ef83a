"""Finding a data file: in the mirror, in the cache, or by download.

Every copy is checked against its SHA-256. If no digest is on record, it is checked against its
number of documents, and the loader checks more.

The cache folder is laid out as a mirror is, ``<folder>/<file>``, so that one user's cache can be
another's mirror.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from vaebench.data.files.content import UNREADABLE, digest_of, open_content
from vaebench.data.files.sources import Source
from vaebench.errors import DataError

log = logging.getLogger(__name__)

MIRROR_ENV = "VAEBENCH_MIRROR"
CACHE_ENV = "VAEBENCH_DATA"
TIMEOUT = (5.0, 10.0)
"""Seconds to wait for a connection, and for the next bytes. Without a network a source costs no
more than this."""

_NOT_WRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
}
"""Errors of a folder that is full, read-only or failing, which another source would not mend."""


def cache_root(root: Path | str | None = None) -> Path:
    """Return the folder of downloaded and prepared files.

    It is the argument, else $VAEBENCH_DATA, else the user's cache folder.
    """
    chosen = root or os.environ.get(CACHE_ENV)
    if chosen:
        return Path(chosen).expanduser()

    import platformdirs

    return Path(platformdirs.user_cache_dir("vaebench"))


def mirror_root(mirror: Path | str | None = None) -> Path | None:
    """Return the folder that is looked in first: the argument, else $VAEBENCH_MIRROR, else None."""
    chosen = mirror or os.environ.get(MIRROR_ENV)
    return Path(chosen).expanduser() if chosen else None


def local_copies(source: Source, mirror: Path | None, root: Path) -> list[Path]:
    """Return existing copies of the file, the mirror's first; only names are looked at."""
    places = [p for p in (mirror, root) if p is not None]
    return [
        copy
        for place in places
        for name in source.file_names
        if (copy := place / source.folder / name).is_file()
    ]


def local_archives(source: Source, mirror: Path | None, root: Path) -> list[Path]:
    """Return existing copies of the archive that holds the file, the mirror's first.

    Only names are looked at.
    """
    places = [p for p in (mirror, root) if p is not None and source.archive]
    return [copy for place in places if (copy := place / source.folder / source.archive).is_file()]


def mistake(path: Path, source: Source) -> str:
    """Return what is wrong with this copy of the file.

    '' if its SHA-256, or its number of documents, is as expected.
    """
    try:
        # Without a digest on record, the number of documents is all that can be checked here.
        if not source.digest:
            documents = _documents(path)
            as_expected = documents == source.documents if source.documents else documents > 0
            return "" if as_expected else f"{documents:,} documents"
        digest = digest_of(path, source.unzipped, source.algorithm)
    except UNREADABLE as e:
        return f"truncated or damaged gzip ({e})"
    except OSError as e:
        return f"cannot be read ({e.strerror or e})"
    return (
        ""
        if digest == source.digest
        else f"truncated or altered (found {source.algorithm} {digest})"
    )


def _documents(path: Path) -> int:
    """Count the lines that are not blank, ended by line feeds, carriage returns or both."""
    with open_content(path) as f:
        return sum(bool(part.strip()) for line in f for part in line.split(b"\r"))


def fetch(source: Source, mirror: Path | None, root: Path) -> Path:
    """Return a local copy of the file with the right content.

    It is the mirror's, the cache's, or a fresh download into the cache. A file that comes in an
    archive may also be taken out of a local copy of the archive, into the cache. Files of the
    mirror are only read.

    Raises:
        DataError: If no source has a good copy. One line with the file, what was expected of it and
            every place tried.
    """
    tried: list[str] = []
    if mirror is not None and not mirror.is_dir():
        raise DataError(f"the mirror {mirror} is not a folder; {_hint(source)}")

    # Local copies first, then local archives, then the addresses; each place that fails is kept for
    # the message.
    for path in local_copies(source, mirror, root):
        problem = mistake(path, source)
        if not problem:
            return path
        tried.append(f"{path}: {problem}")
        log.warning("%s: %s; trying the next source", path, problem)

    for path in local_archives(source, mirror, root):
        try:
            return _unpacked(path, source, root)
        except _WrongContent as e:
            tried.append(f"{path}: {e}")
            log.warning("%s: %s; trying the next source", path, e)

    # The network seems to be down if no address was reached at all.
    offline = bool(source.urls)
    for url in source.urls:
        try:
            return _download_checked(url, source, root)
        except DataError:  # the cache cannot be written: no other address would help
            raise
        except Exception as e:
            reason, unreachable = _reason(e)
            offline = offline and unreachable
            tried.append(f"{url}: {reason}")

    state = (
        "no good copy here and the network seems to be down"
        if offline
        else "no source has a good copy"
    )
    if mirror is not None and not local_copies(source, mirror, mirror):
        tried.insert(0, f"{mirror / source.folder}: not there")
    of_what = " of the unzipped text" if source.unzipped and source.digest else ""
    raise DataError(
        f"{source.name}: {state}; expected {source.expected}{of_what}; "
        f"tried {'; '.join(tried) or 'nothing'}; {_hint(source)}"
    )


def _hint(source: Source) -> str:
    place = f"{source.folder}/{source.name}" + (
        f" or {source.folder}/{source.archive}" if source.archive else ""
    )
    return (
        f"to read it from a folder that holds {place}, name the folder in "
        f"{MIRROR_ENV} or data.mirror"
    )


def download(url: str, to: Path) -> None:
    """Fetch ``url`` into the new file ``to``, unchecked. Raises what pooch and requests raise."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=1 << 16)
    # The caller checks the hash: of unzipped content, pooch's own check cannot say which hash it
    # found.
    pooch.retrieve(url, known_hash=None, fname=to.name, path=to.parent, downloader=downloader)


class _WrongContent(Exception):
    """A file that arrived whole, or is in an archive, is not the one that was expected."""


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a temporary folder in ``folder``, for the time of the context.

    Raises DataError if ``folder`` is full or cannot be written.
    """
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            yield Path(scratch)
    except OSError as e:
        # Errors of requests are OSErrors too, but without an errno of the file system.
        if e.errno in _NOT_WRITABLE:
            raise DataError(
                f"cannot write to {folder}: {e.strerror}; set {CACHE_ENV} to a folder with space"
            ) from None
        raise


def _download_checked(url: str, source: Source, root: Path) -> Path:
    """Download into a temporary folder beside the target, and move the file in place if it is good.

    The target stays as it was until the content is known to be right.
    """
    # Beside the target, because a file can only be moved in one step within a file system.
    folder = root / source.folder
    log.info("downloading %s", url)
    with _scratch(folder) as scratch:
        arrived = scratch / (source.archive or source.name)
        download(url, arrived)
        if not source.archive:
            return _settled(arrived, source, folder)

        target = _taken(arrived, source, scratch, folder)
        # Keep the archive: the other files in it need not be fetched again.
        os.replace(arrived, folder / source.archive)
        return target


def _unpacked(archive: Path, source: Source, root: Path) -> Path:
    """Take the file out of a local archive, into the cache."""
    with _scratch(root / source.folder) as scratch:
        return _taken(archive, source, scratch, root / source.folder)


def _taken(archive: Path, source: Source, scratch: Path, folder: Path) -> Path:
    member = scratch / source.name
    from vaebench.data.files.archive import take

    if problem := take(archive, source.name, member):
        raise _WrongContent(problem)
    return _settled(member, source, folder)


def _settled(arrived: Path, source: Source, folder: Path) -> Path:
    """Check a file that arrived and move it in place. Raises _WrongContent."""
    if problem := mistake(arrived, source):
        raise _WrongContent(problem)
    # To disk before the name is given: a file of this name must be whole even after a crash.
    with arrived.open("rb+") as f:
        os.fsync(f.fileno())

    target = folder / source.name
    os.replace(arrived, target)
    return target


def _reason(error: Exception) -> tuple[str, bool]:
    """Return why a download failed, in a few words, and whether the network seems to be down."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}", False
    if isinstance(error, (requests.Timeout, TimeoutError)):
        return "no answer in time", True
    if isinstance(error, (requests.ConnectionError, ConnectionError)):
        return "no connection", True
    return " ".join(str(error).split()) or type(error).__name__, False
