"""Tiny data sets in the real formats, written to a temporary mirror. No test here may reach the
network."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from kit.documents import DOCUMENTS, text_of

from vaebench.data import MnistDynamic, MnistStatic
from vaebench.data.files import fetch
from vaebench.data.files.sources import Source
from vaebench.data.text.yahoo import Yahoo


def amat(cases: np.ndarray) -> bytes:
    """An amat file: one example a line, blanks between its values."""
    return b"".join(b" ".join(b"%d" % v for v in row) + b"\n" for row in cases)


def idx(array: np.ndarray) -> bytes:
    """An idx file: the magic number (8: bytes; the number of axes), the shape, the values."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@dataclasses.dataclass
class Tiny:
    """A loader class of tiny files, the folder that holds them, and what they hold."""

    cls: type
    mirror: Path
    content: dict[str, np.ndarray]

    def file(self, key: str) -> Path:
        folder = self.mirror / self.cls.sources[key].folder
        return next(
            folder / name
            for name in self.cls.sources[key].file_names[::-1]
            if (folder / name).is_file()
        )


@pytest.fixture(autouse=True)
def sealed(monkeypatch, tmp_path):
    """Keep the user's settings and the network out of every test."""

    def no_network(url, to):
        raise AssertionError(f"a test asked the network for {url}")

    monkeypatch.delenv(fetch.MIRROR_ENV, raising=False)
    monkeypatch.setenv(fetch.CACHE_ENV, str(tmp_path / "default_root"))
    monkeypatch.setattr(fetch, "download", no_network)


@pytest.fixture
def tiny_static(tmp_path) -> Tiny:
    """Binary images in three files, one for each split."""
    rng = np.random.default_rng(3)
    rows = {"train": 12, "valid": 5, "test": 4}
    content = {k: rng.integers(0, 2, (n, 6), dtype=np.uint8) for k, n in rows.items()}

    # The digest is that of the unzipped file, the mirror holds it gzipped.
    mirror = tmp_path / "mirror"
    (mirror / "tiny").mkdir(parents=True)
    sources = {}
    for key, cases in content.items():
        name = f"tiny_{key}.amat"
        urls = (f"https://one.test/{name}", f"https://two.test/{name}")
        sources[key] = Source(
            "tiny", name, hashlib.sha256(amat(cases)).hexdigest(), urls, unzipped=True
        )
        (mirror / "tiny" / f"{name}.gz").write_bytes(gzip.compress(amat(cases)))

    cls = type(
        "TinyStatic",
        (MnistStatic,),
        {"name": "tiny", "sources": sources, "rows": rows, "shape": (2, 3)},
    )
    return Tiny(cls, mirror, content)


@pytest.fixture
def tiny_dynamic(tmp_path) -> Tiny:
    """Grey images in two files; the last five of ``train`` validate."""
    rng = np.random.default_rng(4)
    content = {
        k: rng.integers(0, 256, (n, 2, 3), dtype=np.uint8) for k, n in (("train", 15), ("test", 4))
    }
    # The digest is that of the gzipped file.
    mirror = tmp_path / "mirror"
    (mirror / "tiny").mkdir(parents=True)
    sources = {}
    for key, grey in content.items():
        packed = gzip.compress(idx(grey))
        sources[key] = Source(
            "tiny", f"{key}.gz", hashlib.sha256(packed).hexdigest(), (f"https://one.test/{key}.gz",)
        )
        (mirror / "tiny" / f"{key}.gz").write_bytes(packed)

    members = {
        "name": "tiny",
        "sources": sources,
        "rows": {"train": 15, "test": 4},
        "valid": 5,
        "shape": (2, 3),
    }
    return Tiny(type("TinyDynamic", (MnistDynamic,), members), mirror, content)


@pytest.fixture
def formats_of():
    """The writers of the formats: (amat, idx)."""
    return amat, idx


@pytest.fixture
def tiny_text(tmp_path):
    """A loader like Yahoo's, one file without a digest, and the mirror that holds its files."""
    mirror = tmp_path / "mirror"
    (mirror / "tiny").mkdir(parents=True)
    sources = {}
    for split, documents in DOCUMENTS.items():
        content = text_of(documents)
        (mirror / "tiny" / f"tiny.{split}.txt").write_bytes(content)
        # A file without a digest is checked by its number of documents.
        by_documents = {"documents": 4} if split == "train" else {}
        sha256 = "" if by_documents else hashlib.sha256(content).hexdigest()
        urls = (f"https://one.test/{split}", f"https://two.test/{split}")
        sources[split] = Source(
            "tiny", f"tiny.{split}.txt", sha256, urls, True, archive="tiny.tar.gz", **by_documents
        )

    members = {
        "name": "tiny",
        "sources": sources,
        "documents": {"train": 4, "valid": 2, "test": 2},
        "entries": 9,
    }
    return type("Tiny", (Yahoo,), members), mirror
