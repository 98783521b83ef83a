"""Whether second derivatives are wanted: some layers then take slower code that has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaebench import kernels

_wanted = False


@contextmanager
def wanted() -> Iterator[None]:
    """In this block every layer can be differentiated twice.

    Kernels, which cannot, are not taken.
    """
    global _wanted
    before = _wanted
    _wanted = True
    try:
        with kernels.use(False):
            yield
    finally:
        _wanted = before


def is_wanted() -> bool:
    """Whether second derivatives are wanted here."""
    return _wanted


@contextmanager
def without_fused_layers() -> Iterator[None]:
    """In this block PyTorch takes its own loops.

    They stand in for those of oneDNN and cuDNN, which differentiate once.
    """
    with warnings.catch_warnings():  # about graphics cards that are not there
        warnings.filterwarnings("ignore", message="TF32 acceleration")
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield
