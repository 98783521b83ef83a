"""Products of matrices, without gradient by whichever of PyTorch's libraries is the faster one on this processor.

PyTorch leaves float32 products on a CPU to MKL, which takes the 512-bit units of Intel's processors alone. oneDNN, in
the same wheel, takes those of AMD's as well and is two and a half times faster there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

WORTH = 1 << 20
"""Multiplications from which the product pays for the longer call."""


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b' + bias, (rows, m), for ``a`` (rows, n), ``b`` (m, n) and ``bias`` (m,).

    Up to rounding the same by either library. Where gradients are to pass it is PyTorch's own product.
    """
    if _better(a.shape[0] * b.numel(), a, b, bias):
        return _one_dnn(a, b, bias)
    return torch.mm(a, b.mT) if bias is None else torch.addmm(bias, a, b.mT)


def products(a: Tensor, b: Tensor, out: Tensor) -> None:
    """``out`` (count, rows, m) becomes a b of every pair of ``a`` (count, rows, n) and ``b`` (count, n, m)."""
    if _better(a.shape[1] * b.shape[1] * b.shape[2], a, b):
        for x, y, z in zip(a, b, out, strict=True):
            z.copy_(_one_dnn(x, y.mT))
    else:
        torch.bmm(a, b, out=out)


def _better(multiplications: int, *of: Tensor | None) -> bool:
    """Whether a product goes to oneDNN: that knows float32 on a CPU, and neither gradients, vmap nor the compiler."""
    if multiplications < WORTH or torch.compiler.is_compiling():
        return False
    given = [v for v in of if v is not None]
    tracked = torch.is_grad_enabled()
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return one_dnn() and all(
        v.dtype == torch.float32 and v.is_cpu and not (tracked and v.requires_grad) and not wrapped(v) for v in given
    )


def _one_dnn(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    if bias is not None:
        bias = bias.expand(len(b)).contiguous()  # the operator does not look at its strides
    return torch.ops.mkldnn._linear_pointwise(a.contiguous(), b, bias, "none", [], "")


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
