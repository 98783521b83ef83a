"""Code may take a kernel unless kernels are forbidden or missing, or the code is compiled."""

from __future__ import annotations

import pytest
import torch

from vaebench import kernels


@pytest.fixture(autouse=True)
def _there(monkeypatch):
    """Pretend that Numba is installed."""
    monkeypatch.setattr(kernels, "missing", lambda: "")


def test_they_are_allowed_unless_forbidden_in_a_block():
    assert kernels.allowed()
    with kernels.use(False):
        assert not kernels.allowed()
        with kernels.use(True):
            assert kernels.allowed()
        assert not kernels.allowed()
    assert kernels.allowed()


def test_they_are_not_on_a_machine_without_numba(monkeypatch):
    monkeypatch.setattr(kernels, "missing", lambda: "No module named 'numba'")
    assert not kernels.allowed()


def test_they_are_not_in_code_that_is_compiled(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not kernels.allowed()
