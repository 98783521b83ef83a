"""Checks of the installation: is everything here that a run needs?

Looked at are Python, libraries, compiler, kernels, memory, folders and data.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vaebench import __version__
from vaebench.errors import UserError

OK = "ok"
WARN = "warn"
FAIL = "FAIL"

SPACE_GB = 2.0
"""Free space below which a folder gets a warning: the prepared data and a full
table of runs need less."""

MEMORY_GB = 2.0
"""Memory below which there is a warning."""


class Line(NamedTuple):
    """The finding about one thing that was looked at."""

    level: str
    text: str


def lines(results: Callable[[], Path], mirror: str | None) -> Iterator[Line]:
    """Yield everything that a run needs, a line each.

    Args:
        results: Returns the folder of the runs, or raises UserError.
        mirror: The folder of data files that was named; None for that of the environment.
    """

    def results_folder() -> Iterator[Line]:
        yield from folder("results", results())

    def data_cache() -> Iterator[Line]:
        from vaebench.data.files.fetch import cache_root

        yield from folder("data cache", cache_root())

    probes = [
        _versions,
        _torch,
        _compiler,
        _kernels,
        _libraries,
        _machine,
        results_folder,
        data_cache,
    ]

    # Each thing is looked at by itself, so that a broken one does not hide the others.
    for probe in probes:
        yield from _careful(probe.__name__.strip("_").replace("_", " "), probe)
    yield from _careful("mirror", lambda: _mirror(mirror))
    yield from _careful("data", lambda: _data(mirror))


def _careful(name: str, probe: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    try:
        yield from probe()
    except UserError as e:
        yield Line(FAIL, f"{name}: {e}")
    except Exception as e:  # a broken library may raise anything, which is what we look for
        yield Line(FAIL, f"{name}: {type(e).__name__}: {' '.join(str(e).split())}")


def _versions() -> Iterator[Line]:
    version = sys.version_info[:2]
    level = OK if (3, 11) <= version <= (3, 13) else WARN if version > (3, 13) else FAIL
    yield Line(
        level,
        f"Python {platform.python_version()} (made for 3.11 to 3.13), {platform.system()} "
        f"{platform.machine()}",
    )
    yield Line(OK, f"vaebench {__version__}")


def _torch() -> Iterator[Line]:
    import torch

    yield Line(OK, f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        yield Line(OK, "no CUDA device: runs use the CPU")
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        yield Line(OK, f"cuda:{i} {properties.name}, {properties.total_memory / 1e9:.0f} GB")


def _compiler() -> Iterator[Line]:
    # This is the order in which torch.compile looks for a compiler.
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++", "cl") if name]
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    if compiler:
        yield Line(OK, f"C++ compiler for torch.compile: {compiler}")
    else:
        yield Line(
            WARN,
            "no C++ compiler (g++ or clang++): training on the CPU runs uncompiled, two "
            "to three times slower",
        )


def _kernels() -> Iterator[Line]:
    from vaebench import kernels

    lack = kernels.missing()
    if lack:
        yield Line(
            WARN, f"no kernels ({lack}): belief nets train several times slower; pip install numba"
        )
        return

    from importlib import metadata

    yield Line(OK, f"kernels for belief nets: numba {metadata.version('numba')}")


def _libraries() -> Iterator[Line]:
    from importlib import metadata

    import h5py

    yield Line(OK, f"HDF5 {h5py.version.hdf5_version}, h5py {h5py.__version__}")
    for name in ("hydra-core", "pandas", "numpy", "scipy"):
        try:
            yield Line(OK, f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Line(FAIL, f"{name} is not installed")


def _machine() -> Iterator[Line]:
    yield Line(OK, f"{_cores()} cores")
    memory = _memory()
    if memory is None:
        yield Line(WARN, "memory unknown on this system")
    else:
        yield Line(OK if memory >= MEMORY_GB else WARN, f"{memory:.1f} GB of memory")


def _cores() -> int:
    """Return the cores that this process may use, perhaps fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> float | None:
    """Return the GB of physical memory; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def folder(name: str, path: Path) -> Iterator[Line]:
    """Check that the folder, or the nearest existing one above it, can be written.

    The line also says how much space is left there.
    """
    path = path.expanduser().absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    # To write a file is the only sure test: permissions do not tell of full or read-only disks.
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as e:
        yield Line(FAIL, f"{name}: cannot write to {nearest}: {e.strerror}")
        return

    free = shutil.disk_usage(nearest).free / 1e9
    yield Line(OK if free >= SPACE_GB else WARN, f"{name}: {path}, {free:.1f} GB free")


def _mirror(chosen: str | None) -> Iterator[Line]:
    from vaebench.data.files.fetch import MIRROR_ENV, mirror_root

    root = mirror_root(chosen)
    if root is None:
        return
    named = "data.mirror" if chosen else MIRROR_ENV
    if not root.is_dir():
        yield Line(
            FAIL,
            f"mirror: {root} is not a folder, so nothing can be fetched; correct or unset {named}",
        )
    elif not os.access(root, os.R_OK | os.X_OK):
        yield Line(FAIL, f"mirror: {root} ({named}) cannot be read")
    else:
        yield Line(OK, f"mirror: {root}")


def _data(mirror: str | None) -> Iterator[Line]:
    from vaebench import data

    for status in data.status(mirror=mirror):
        if status.prepared:
            yield Line(OK, f"data {status.name}: ready")
        elif status.missing:
            yield Line(
                WARN,
                f"data {status.name}: not here ({', '.join(status.missing)}); vaebench "
                f"data get {status.name}",
            )
        else:
            yield Line(OK, f"data {status.name}: files are here, prepared at first use")
