"""What every test starts from: one thread, no width that the environment gives, and
no waiting for the disk.

Tiny tensors are fastest with one thread, and nothing then depends on how many cores a machine has.
"""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from vaebench.config import catalogue

pytest_plugins = ["kit.cells", "kit.processes"]
"""Whose fixtures are there for every test."""

torch.set_num_threads(1)
# Pytest-xdist gives its workers the terminal's, to which reports would be fitted.
os.environ.pop("COLUMNS", None)

# What reached the disk shows after a power cut alone. Tests of a full disk put a function of their
# own in this place.
os.fsync = lambda handle: None


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of the shipped configuration that a test may add to, in the place of it."""
    place = tmp_path / "conf"
    shutil.copytree(catalogue.conf_dir(), place)
    monkeypatch.setattr(catalogue, "conf_dir", lambda: place)
    return place
