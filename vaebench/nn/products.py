"""Matrix products by whichever of PyTorch's libraries is faster on this processor.

PyTorch leaves float32 products on a CPU to MKL, which uses the 512-bit units of Intel's processors
only. oneDNN, in the same wheel, uses those of AMD's as well, and is two and a half times faster
there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vaebench.nn import second_order

WORTH = 1 << 20
"""Multiplications from which oneDNN saves more time than its longer call costs."""


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a b' + bias, (rows, m), for ``a`` (rows, n), ``b`` (m, n) and ``bias`` (m,).

    Both libraries give the same up to rounding. If gradients must pass, the product is PyTorch's
    own.
    """
    if _better(a.shape[0] * b.numel(), a, b, bias):
        return by_one_dnn(a, b, bias)
    return torch.mm(a, b.mT) if bias is None else torch.addmm(bias, a, b.mT)


def products(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write the product of every pair of ``a`` and ``b`` to ``out``.

    Args:
        a: (count, rows, n).
        b: (count, n, m).
        out: (count, rows, m).
    """
    if _better(a.shape[1] * b.shape[1] * b.shape[2], a, b):
        for x, y, z in zip(a, b, out, strict=True):
            z.copy_(by_one_dnn(x, y.mT))
    else:
        torch.bmm(a, b, out=out)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight' + bias, (..., m), for ``x`` (..., n), ``weight`` (m, n) and ``bias`` (m,).

    Gradients pass. Both libraries give the same up to rounding. If second derivatives are wanted,
    the product is PyTorch's own.
    """
    if torch.compiler.is_compiling():  # even the number of rows may be unknown then
        return torch.nn.functional.linear(x, weight, bias)

    # All leading axes become one, since the products of the gradient are of matrices.
    rows = x.reshape(-1, x.shape[-1])
    tensors = [v for v in (rows, weight, bias) if v is not None]
    tracked = torch.is_grad_enabled() and any(v.requires_grad for v in tensors)
    if not _fits(len(rows) * weight.numel(), *tensors) or (tracked and second_order.is_wanted()):
        return torch.nn.functional.linear(x, weight, bias)

    product_of = _Linear.apply if tracked else by_one_dnn
    out: Tensor = product_of(rows, weight, bias)
    return out.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """A linear layer whose product and gradients are computed by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return by_one_dnn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            by_one_dnn(out, weight.mT) if to_x else None,
            by_one_dnn(out.mT, x.mT) if to_weight else None,
            out.sum(0) if to_bias else None,
        )


def _better(multiplications: int, *factors: Tensor | None) -> bool:
    """Whether oneDNN is to compute a product; it may only if no gradient must pass."""
    tensors = [v for v in factors if v is not None]
    tracked = torch.is_grad_enabled() and any(v.requires_grad for v in tensors)
    return not tracked and _fits(multiplications, *tensors)


def _fits(multiplications: int, *factors: Tensor) -> bool:
    """Whether oneDNN can compute a product, and is faster.

    It can for float32 on a CPU, but not under vmap or the compiler.
    """
    if multiplications < WORTH or torch.compiler.is_compiling():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return one_dnn() and all(
        v.dtype == torch.float32 and v.is_cpu and not wrapped(v) for v in factors
    )


def by_one_dnn(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a b' + bias, as ``product`` does, by oneDNN; no gradient passes."""
    if bias is not None:
        bias = bias.expand(len(b)).contiguous()  # the operator does not look at its strides
    return torch.ops.mkldnn._linear_pointwise(a.contiguous(), b, bias, "none", [], "")


@lru_cache(maxsize=1)
def one_dnn() -> bool:
    """Whether oneDNN is available and faster.

    This depends only on the machine, so a resumed run computes as before. The operator is internal
    to PyTorch. If it is missing or gives a wrong result, MKL is used.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _made_by("AuthenticAMD"):
        return False

    # A product of small whole numbers has no rounding, so both libraries must agree exactly.
    a = torch.arange(6.0).view(2, 3)
    try:
        return bool(torch.equal(by_one_dnn(a, a[:1]), a @ a[:1].mT))
    except (AttributeError, RuntimeError):
        return False


def _made_by(vendor: str) -> bool:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return any(vendor in line for line in lines if line.startswith("vendor_id"))
    except OSError:
        return False
