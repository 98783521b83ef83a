"""The small table of ``kit.tables``, in a configuration that a test may change."""

from __future__ import annotations

import pytest
from kit.tables import SMALL

from vaebench.config import catalogue


@pytest.fixture
def small(conf):
    """The folder of the configuration; the small table is one of its tables."""
    (conf / "table" / "small.yaml").write_text(SMALL)
    return conf


@pytest.fixture
def table(small):
    """The small table as read."""
    return catalogue.load_table("small")
