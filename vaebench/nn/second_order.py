"""Whether second derivatives are wanted; if so, some layers use slower code that has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaebench import kernels

_wanted = False


@contextmanager
def wanted() -> Iterator[None]:
    """Let every layer be differentiable twice within a block; kernels are not, so none is used."""
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
    """Let PyTorch use its own loops within a block.

    Those of oneDNN and cuDNN can be differentiated only once.
    """
    with warnings.catch_warnings():  # the warning is about GPUs that this machine lacks
        warnings.filterwarnings("ignore", message="TF32 acceleration")
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield
