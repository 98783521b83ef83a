"""Every test starts with one thread, no terminal width from the environment, and no waiting for the
disk.

Tiny tensors are fastest with one thread, and nothing then depends on how many cores a machine has.
"""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from vaebench.config import catalogue

pytest_plugins = ["kit.boltzmann", "kit.cells", "kit.processes"]
"""Modules whose fixtures every test has."""

torch.set_num_threads(1)
# Pytest-xdist gives its workers the terminal's width, to which reports would be fitted.
os.environ.pop("COLUMNS", None)

# Whether a file reached the disk shows only after a power cut. Tests of a full disk put a function
# of their own in this place.
os.fsync = lambda handle: None


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of the shipped configuration, which takes its place and may be changed by a test."""
    place = tmp_path / "conf"
    shutil.copytree(catalogue.conf_dir(), place)
    monkeypatch.setattr(catalogue, "conf_dir", lambda: place)
    return place
