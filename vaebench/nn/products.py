"""Products of matrices without gradient, by whichever of PyTorch's libraries is the faster one on this processor.

PyTorch leaves float32 products on a CPU to MKL, which takes the 512-bit units of Intel's processors alone. oneDNN, in
the same wheel, takes those of AMD's as well and is two and a half times faster there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

WORTH = 1 << 21
"""Multiplications from which the product pays for the longer call."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b', (rows, m), for ``a`` (rows, n) and ``b`` (m, n), without gradient. In float32 up to rounding."""
    if a.dtype == torch.float32 and a.is_cpu and a.shape[0] * b.numel() >= WORTH and one_dnn():
        return _one_dnn(a, b)
    return torch.mm(a, b.mT)


def _one_dnn(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a.contiguous(), b, None, "none", [], "")


@lru_cache(maxsize=1)
def one_dnn() -> bool:
    """Whether oneDNN is there and faster: a matter of the machine alone, so that a run that goes on goes on alike.

    The operator is PyTorch's own, not its public face: where it is missing or does not do what it should, MKL does it.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _made_by("AuthenticAMD"):
        return False
    a = torch.arange(6.0).view(2, 3)
    try:
        return bool(torch.equal(_one_dnn(a, a[:1]), a @ a[:1].mT))
    except (AttributeError, RuntimeError):
        return False


def _made_by(vendor: str) -> bool:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return any(vendor in line for line in lines if line.startswith("vendor_id"))
    except OSError:
        return False
