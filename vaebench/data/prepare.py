"""Prepared data: the canonical arrays of a data set in one HDF5 file, written once, checked at every read."""

from __future__ import annotations

import json
import logging
import os
import secrets
from pathlib import Path

import numpy as np

from vaebench.data.fetch import CACHE_ENV, fetch
from vaebench.data.loader import Loader
from vaebench.data.splits import array_hash
from vaebench.errors import DataError

log = logging.getLogger(__name__)

_ROWS = 1000


def prepared_path(loader: Loader, root: Path) -> Path:
    """Where the prepared arrays of a data set are kept."""
    return root / "prepared" / f"{loader.name}-v{loader.version}.h5"


def prepare(loader: Loader, mirror: Path | None, root: Path) -> dict[str, np.ndarray]:
    """The canonical arrays: read from the prepared file, which is written first where there is no good one.

    Of several processes one prepares while the others wait. Raises DataError when no source has a needed file, or
    when the prepared file cannot be written.
    """
    if not loader.sources:
        return loader.arrays({})
    path = prepared_path(loader, root)
    if path.is_file() and not isinstance(found := read(loader, path), str):
        return found
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


def _prepare_locked(loader: Loader, path: Path, mirror: Path | None, root: Path) -> dict[str, np.ndarray]:
    if path.is_file():  # perhaps prepared by another process while this one waited
        found = read(loader, path)
        if not isinstance(found, str):
            return found
        log.warning("%s: %s; preparing it anew", path, found)
    for left in path.parent.glob(f".{path.stem}.*.tmp"):  # of a process that was killed: the lock is ours
        left.unlink(missing_ok=True)
    files = {key: fetch(source, mirror, root) for key, source in loader.sources.items()}
    arrays = loader.arrays(files)
    write(loader, arrays, path)
    return arrays


def read(loader: Loader, path: Path) -> dict[str, np.ndarray] | str:
    """The arrays in a prepared file, or, where they cannot be used, a few words that say why."""
    import h5py

    try:
        # never changed in place, so HDF5's own lock, which fails on some file systems, is not needed
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["version"] != loader.version or json.loads(file.attrs["sources"]) != _sources(loader):
                return "prepared by another version"
            hashes = json.loads(file.attrs["sha256"])
            arrays = {key: file[key][()] for key in hashes}
    except Exception as e:  # damaged bytes can come out of HDF5 as almost any error
        return f"not a readable prepared file ({' '.join(str(e).split())})"
    for key, array in arrays.items():
        if (found := array_hash(array)) != hashes[key]:
            return f"{key} is altered (expected sha256 {hashes[key]}, found {found})"
    return arrays


def write(loader: Loader, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write the prepared file whole or not at all. Raises DataError when it cannot be written."""
    import h5py

    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with h5py.File(temporary, "x", locking=False) as file:
            for key, array in arrays.items():
                chunks = (min(_ROWS, len(array)), *array.shape[1:])
                file.create_dataset(key, data=array, chunks=chunks, compression="gzip", compression_opts=4)
            file.attrs["name"] = loader.name
            file.attrs["version"] = loader.version
            file.attrs["sha256"] = json.dumps({key: array_hash(array) for key, array in arrays.items()})
            file.attrs["sources"] = json.dumps(_sources(loader))
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as e:  # h5py reports a full disk as either
        raise _not_written(path, e) from None
    finally:
        temporary.unlink(missing_ok=True)


def _sources(loader: Loader) -> dict[str, str]:
    return {source.name: source.digest for source in loader.sources.values()}


def _not_written(path: Path, error: Exception) -> DataError:
    why = " ".join(str(getattr(error, "strerror", None) or error).split())
    return DataError(f"cannot write {path}: {why}; set {CACHE_ENV} to a folder with space")
