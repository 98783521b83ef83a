"""What is on disk of each data set, and whether it is intact.

These are the rows behind ``vaebench data ls`` and ``verify``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vaebench.data.files.fetch import local_archives, local_copies, mistake
from vaebench.data.loader import Loader
from vaebench.data.prepare import contents, prepared_path, read


@dataclass(frozen=True)
class Status:
    """One data set as ``vaebench data ls`` shows it.

    It is found by names and sizes alone; no content is read.

    Attributes:
        needed: File names at the source; for the user's own files, the settings that name them.
        present: Those of ``needed`` with a copy in the mirror or the cache.
        prepared: Whether the data can be loaded without any of the needed files.
        path: The prepared file, or where it will be; None for data that come with a library or are
            made when needed.
        bytes: What the prepared file and the cached downloads take on disk, without the mirror.
        supplied: Those of ``needed`` that have no address, so that the user must supply them.
    """

    name: str
    needed: tuple[str, ...]
    present: tuple[str, ...]
    prepared: bool
    path: Path | None
    bytes: int
    supplied: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.needed if name not in self.present)

    @property
    def state(self) -> str:
        """The state in words: ready to be loaded, files present, or some files missing.

        Files that are present are prepared at the first use.
        """
        if self.prepared:
            return "ready"
        if self.missing:
            return f"missing {len(self.missing)} of {len(self.needed)}"
        return "files here"

    @property
    def where(self) -> str:
        """The prepared file.

        Before it exists: the names of the files that are needed, or ``embedded`` if none are.
        """
        if self.prepared and self.path is not None:
            return str(self.path)
        return ", ".join(self.needed) or "embedded"


@dataclass(frozen=True)
class Check:
    """The check of one file against its SHA-256.

    ``state`` is 'ok', 'bad' or 'absent'; ``detail`` says what is wrong.
    """

    data: str
    file: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.data}: {self.file}: {self.state}" + (
            f": {self.detail}" if self.detail else ""
        )


def lines(found: Iterable[Status]) -> list[tuple[str, ...]]:
    """Return a header and a line for each data set.

    A line has the name, the state, the megabytes on disk and the files.
    """
    rows: list[tuple[str, ...]] = [("DATA", "STATE", "MB", "FILES")]
    for status in found:
        rows.append((status.name, status.state, f"{status.bytes / 1e6:.1f}", status.where))
    return rows


def status_of(loader: Loader, mirror: Path | None, root: Path) -> Status:
    """Return what is on disk of one data set."""
    # Files of the user are known by the settings of a run, not here.
    if loader.asks:
        return Status(loader.name, loader.asks, loader.asks, True, None, 0)

    sources = loader.sources.values()
    copies_of = {
        s.name: local_copies(s, mirror, root) or local_archives(s, mirror, root) for s in sources
    }
    # The size is that of files in the cache; a mirror belongs to somebody else.
    cached = {
        p for s in sources for p in (*local_copies(s, None, root), *local_archives(s, None, root))
    }

    path = prepared_path(loader, root) if loader.kept else None
    if path is not None and not loader.sources and not path.is_file():
        path = None  # nothing is missing: the data are made when they are first needed

    is_ready = path is None or path.is_file()
    if path is not None and is_ready:
        cached.add(path)

    present = tuple(name for name, copies in copies_of.items() if copies)
    supplied = tuple(s.name for s in sources if not s.urls)
    size = sum(p.stat().st_size for p in cached)
    return Status(loader.name, tuple(copies_of), present, is_ready, path, size, supplied)


def verify_one(loader: Loader, mirror: Path | None, root: Path) -> list[Check]:
    """Check every local copy of the needed files, then the prepared file.

    Each is read as a whole and held against its SHA-256.
    """
    if loader.asks:
        return [
            Check(
                loader.name,
                ", ".join(loader.asks),
                "absent",
                "your own files, checked whenever they are read",
            )
        ]

    # Archives are left out: they have no digest, and what is taken out of them is checked then.
    checks = []
    for source in loader.sources.values():
        copies = local_copies(source, mirror, root)
        if not copies:
            checks.append(Check(loader.name, source.name, "absent"))
        for path in copies:
            problem = mistake(path, source)
            detail = f"{problem}; expected {source.expected}" if problem else ""
            checks.append(Check(loader.name, str(path), "bad" if problem else "ok", detail))

    if not loader.kept:
        loader.arrays({})  # this holds what the library ships against its SHA-256
        checks.append(Check(loader.name, "embedded", "ok"))
        return checks

    path = prepared_path(loader, root)
    if not path.is_file():
        checks.append(Check(loader.name, str(path), "absent", "not prepared"))
    else:
        arrays_or_reason = read(loader, path, contents(loader, mirror, root))
        problem = arrays_or_reason if isinstance(arrays_or_reason, str) else ""
        checks.append(Check(loader.name, str(path), "bad" if problem else "ok", problem))
    return checks
