"""What ``import vaebench`` loads, and the names that it offers."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from kit.repository import ROOT

import vaebench as vb


def test_the_import_loads_nothing():
    code = (
        "import sys; before = set(sys.modules); import vaebench; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["vaebench"]


def test_listing_tables_needs_neither_torch_nor_pandas_nor_hydra():
    code = (
        "import sys, vaebench as vb; vb.tables(); print(*{'torch', 'pandas', "
        "'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_every_name_is_there_and_no_other():
    for name in vb.__all__:
        assert getattr(vb, name) is not None
        assert name in dir(vb)

    with pytest.raises(AttributeError, match="has no attribute 'tabels'"):
        _ = vb.tabels
    with pytest.raises(AttributeError, match="has no attribute 'importances'"):
        _ = vb.estimators.importances

    # What is loaded on demand is public.
    assert {*vb._PLACES, "estimators"} == {*vb.__all__}
    assert {*vb.estimators.FUNCTIONS, *vb.estimators.MODULES} == {*vb.estimators.__all__}

    assert all(getattr(vb.estimators, name) for name in vb.estimators.__all__)
    assert all(getattr(vb.estimators.log_z, name) for name in vb.estimators.log_z.__all__)


def test_the_public_names_are_those_of_the_page():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `vb\.(\w+)", page, re.M)

    assert sorted(listed) == sorted([*vb.__all__, "__version__"])
    assert len(listed) == 10, "the page says ten"


def test_loading_a_file_hides_no_function():
    import vaebench.estimators.importance_weighted
    import vaebench.estimators.variational  # noqa: F401

    assert callable(vb.estimators.importance)
    assert callable(vb.estimators.bound)
