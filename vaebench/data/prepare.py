"""Prepared data: the canonical arrays of a data set in one HDF5 file.

The file is written once and checked at every read.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from vaebench.data.files.content import UNREADABLE, digest_of
from vaebench.data.files.fetch import CACHE_ENV, fetch, local_copies, mistake
from vaebench.data.loader import Loader
from vaebench.data.splits import array_hash
from vaebench.errors import DataError
from vaebench.files import write_atomic

log = logging.getLogger(__name__)

_ROWS = 1000
"""Rows of a chunk, for arrays with a row for each example."""

_NUMBERS = 1 << 16
"""Numbers of a chunk, for flat arrays."""


def prepared_path(loader: Loader, root: Path) -> Path:
    """Return where the prepared arrays of a data set are kept."""
    return root / "prepared" / f"{loader.stem}-v{loader.version}.h5"


def prepare(loader: Loader, mirror: Path | None, root: Path) -> dict[str, np.ndarray]:
    """Return the canonical arrays, read from the prepared file.

    If there is no intact prepared file, it is written first. If several processes want it, one
    prepares and the others wait. Raises DataError if no source has a needed file, or if the
    prepared file cannot be written.
    """
    if not loader.kept:
        return loader.arrays({})

    # The usual case comes first and takes no lock: an intact prepared file is never written again.
    path = prepared_path(loader, root)
    if path.is_file() and not isinstance(
        arrays_or_reason := read(loader, path, contents(loader, mirror, root)), str
    ):
        return arrays_or_reason

    from filelock import FileLock

    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as e:
        raise _not_written(path, e) from None

    try:
        return _prepare_locked(loader, path, mirror, root)
    finally:
        lock.release()


def _prepare_locked(
    loader: Loader, path: Path, mirror: Path | None, root: Path
) -> dict[str, np.ndarray]:
    if path.is_file():  # perhaps prepared by another process while this one waited
        arrays_or_reason = read(loader, path, contents(loader, mirror, root))
        if not isinstance(arrays_or_reason, str):
            return arrays_or_reason
        log.warning("%s: %s; preparing it anew", path, arrays_or_reason)

    # Left by a process that was killed: the lock is ours, so none of these is being written.
    for leftover in path.parent.glob(f".{path.stem}.*.tmp"):
        leftover.unlink(missing_ok=True)

    # A source without a digest on record is remembered by what was found in it, so that ``read``
    # notices another file.
    files = {key: fetch(source, mirror, root) for key, source in loader.sources.items()}
    arrays = loader.arrays(files)
    made_of = {
        s.name: digest_of(files[k], s.unzipped) for k, s in loader.sources.items() if not s.digest
    }
    write(loader, arrays, path, made_of)
    return arrays


def contents(loader: Loader, mirror: Path | None, root: Path) -> dict[str, str]:
    """Return the SHA-256 of local files whose digest is not known beforehand.

    Files that are not here are left out. A prepared file that was made of other content is not
    used.
    """
    digest_of_source = {}
    for source in loader.sources.values():
        if source.digest or not (copies := local_copies(source, mirror, root)):
            continue
        # The copy that ``fetch`` takes: the first good one. A single copy is not read twice.
        good = (copy for copy in copies if len(copies) == 1 or not mistake(copy, source))
        try:
            digest_of_source[source.name] = digest_of(next(good, copies[0]), source.unzipped)
        except (OSError, *UNREADABLE):
            digest_of_source[source.name] = "unreadable"

    return digest_of_source


def read(
    loader: Loader, path: Path, here: dict[str, str] | None = None
) -> dict[str, np.ndarray] | str:
    """Return the arrays of a prepared file, or a few words that say why they cannot be used.

    ``here`` has the ``contents`` on this machine that the file should have been made of.
    """
    import h5py

    try:
        # The file is never changed in place, so HDF5's own lock is not needed. It fails on some
        # file systems.
        with h5py.File(path, "r", locking=False) as file:
            # Another version of the loader, or files with other digests, gave other arrays.
            if file.attrs["version"] != loader.version or json.loads(
                file.attrs["sources"]
            ) != _sources(loader):
                return "prepared by another version"
            made_of = json.loads(file.attrs["content"]) if "content" in file.attrs else {}
            for name, digest in (here or {}).items():
                if made_of.get(name) != digest:
                    return f"made of another {name}"
            hashes = json.loads(file.attrs["sha256"])
            arrays = {key: file[key][()] for key in hashes}
    except Exception as e:  # damaged bytes can come out of HDF5 as almost any error
        return f"not a readable prepared file ({' '.join(str(e).split())})"

    for key, array in arrays.items():
        if (actual_hash := array_hash(array)) != hashes[key]:
            return f"{key} is altered (expected sha256 {hashes[key]}, found {actual_hash})"
    return arrays


def write(
    loader: Loader, arrays: dict[str, np.ndarray], path: Path, made_of: dict[str, str] | None = None
) -> None:
    """Write the prepared file whole or not at all. Raises DataError if it cannot be written.

    ``made_of`` has the SHA-256 of those used files whose digest was not known beforehand.
    """
    content = _hdf5(loader, arrays, made_of or {})
    try:
        write_atomic(path, content)
    except OSError as e:
        raise _not_written(path, e) from None


def _hdf5(loader: Loader, arrays: dict[str, np.ndarray], made_of: dict[str, str]) -> bytes:
    """Return the content of the prepared file, made in memory.

    HDF5 crashes the process if it cannot close a file on a full disk.
    """
    import h5py

    with h5py.File(loader.stem, "w", driver="core", backing_store=False) as file:
        for key, array in arrays.items():
            chunks = (min(_ROWS if array.ndim > 1 else _NUMBERS, len(array)), *array.shape[1:])
            file.create_dataset(
                key, data=array, chunks=chunks, compression="gzip", compression_opts=4
            )

        # What ``read`` compares: the version, the digest of each source on record ('' if there is
        # none), the hash of each array, and the content of the sources without a digest.
        file.attrs["name"] = loader.name
        file.attrs["version"] = loader.version
        file.attrs["sha256"] = json.dumps({key: array_hash(array) for key, array in arrays.items()})
        file.attrs["sources"] = json.dumps(_sources(loader))
        file.attrs["content"] = json.dumps(made_of)
        file.flush()
        return file.id.get_file_image()


def _sources(loader: Loader) -> dict[str, str]:
    return {source.name: source.digest for source in loader.sources.values()}


def _not_written(path: Path, error: Exception) -> DataError:
    why = " ".join(str(getattr(error, "strerror", None) or error).split())
    return DataError(f"cannot write {path}: {why}; set {CACHE_ENV} to a folder with room for it")
