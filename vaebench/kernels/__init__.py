"""Hand-made loops that know what a tensor library cannot: that inputs and latents are bits.

Compiled by Numba. Each has plain PyTorch code as its equal, which its tests hold it to. Nothing
here is imported before it is used, so that a machine without Numba misses nothing but the speed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

_wanted = True


@contextmanager
def use(wanted: bool) -> Iterator[None]:
    """Allow kernels in this block, or forbid them.

    ``run.engine=plain`` means that there is none anywhere.
    """
    global _wanted
    before = _wanted
    _wanted = wanted
    try:
        yield
    finally:
        _wanted = before


def allowed() -> bool:
    """Whether code that has a kernel may take it here.

    Nothing forbids it, and there are kernels on this machine. Not in code that torch compiles,
    which could not take one: it would warn of the cache of ``missing``.
    """
    return _wanted and not torch.compiler.is_compiling() and not missing()


def loaded() -> bool:
    """Whether this process has loaded the compiler already, which takes as long as a second."""
    return f"{__name__}.compiler" in sys.modules


@lru_cache(maxsize=1)
def missing() -> str:
    """Why there are no kernels on this machine, in words; '' if there are."""
    try:
        import numba
    except ImportError as e:
        return " ".join(str(e).split())
    return "" if hasattr(numba, "njit") else "numba is broken"


LEAST, MOST = 16, 800
"""Units of a side of a Boltzmann machine that the kernels take: a vector at least,
and no product overflows."""


def plain(v: Tensor) -> bool:
    """Whether loops of our own can be handed a tensor.

    float32 on a CPU, while nobody maps or records what is done.
    """
    if torch.compiler.is_compiling():
        return False
    mapped = torch._C._functorch.is_functorch_wrapped_tensor(v)
    return v.device.type == "cpu" and v.dtype == torch.float32 and not mapped


def takes(*tensors: Tensor) -> bool:
    """Whether kernels may read these: ``plain`` ones, of which no gradient is asked for."""
    tracked = torch.is_grad_enabled()
    return all(plain(v) and not (tracked and v.requires_grad) for v in tensors)


def fits(w: Tensor) -> bool:
    """Whether there are kernels for the chains of a machine with these couplings, (n1, n2)."""
    return w.dim() == 2 and all(LEAST <= n <= MOST for n in w.shape) and plain(w)


FEW = 3
"""Chains of each of many machines up to which it is faster to take one after the other
than all by a product."""


def few(w: Tensor, z: Tensor) -> bool:
    """Whether there is a kernel for chains ``z`` (k, batch, n) of many machines.

    The couplings are (batch, n1, n2).
    """
    return w.dim() == z.dim() == 3 and len(z) <= FEW and plain(w)
