"""Compiled kernels are kept in a folder of their own for every version of the package's kernels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("numba")

import numba

from vaebench.kernels import compiler


@pytest.mark.parametrize("own", [True, False])
def test_programs_of_other_kernels_are_never_taken(tmp_path, monkeypatch, own):
    """Every version of the kernels has a folder of its own: Numba would not notice that a function
    in another file has changed."""
    place = tmp_path / ("of the user" if own else "cache/vaebench/kernels")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place) if own else "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = compiler._cache_folder()

    assert folder.parent == place

    # The name of the folder depends on what the files say, not on where they are.
    package = tmp_path / "kernels"
    shutil.copytree(Path(compiler.__file__).parent, package)
    monkeypatch.setattr(compiler, "__file__", str(package / "compiler.py"))

    assert compiler._cache_folder() == folder, "the same kernels in another place"

    with (package / "vectors.py").open("a") as f:
        f.write("# changed\n")
    assert compiler._cache_folder().parent == place
    assert compiler._cache_folder() != folder


def test_numba_keeps_them_there():
    assert numba.config.CACHE_DIR.endswith(compiler._cache_folder().name)
