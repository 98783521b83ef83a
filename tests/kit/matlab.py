"""MATLAB files, and data sets that come in them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from scipy.io import savemat

from vaebench.data import prepare
from vaebench.data.files.sources import Source

SHAPE = (2, 3)


def mat(content: dict, **options) -> bytes:
    """A MATLAB file of these arrays."""
    file = io.BytesIO()
    savemat(file, content, **options)
    return file.getvalue()


def column_by_column(pictures: np.ndarray) -> np.ndarray:
    """(n, height * width) as MATLAB lays pictures (n, height, width) out."""
    return np.stack([picture.ravel(order="F") for picture in pictures])


def tiny(base: type, folder: Path, key: str, content: dict, **members) -> type:
    """The loader of a tiny MATLAB file, which is written to ``folder``/tiny/tiny.mat."""
    (folder / "tiny").mkdir(parents=True, exist_ok=True)
    packed = mat(content, do_compression=True)
    (folder / "tiny" / "tiny.mat").write_bytes(packed)
    sources = {key: Source("tiny", "tiny.mat", hashlib.sha256(packed).hexdigest())}
    return type("TinyMat", (base,), {"name": "tiny", "sources": sources, "shape": SHAPE, **members})


def prepared(cls: type, tmp_path: Path):
    """A loader of the class, and the arrays that it prepares."""
    loader = cls()
    return loader, prepare.prepare(loader, tmp_path, tmp_path / "root")


def changed(packed: bytes, place: int) -> bytes:
    """A copy of the file with another byte at ``place``."""
    return packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :]
