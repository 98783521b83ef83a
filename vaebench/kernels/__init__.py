"""Hand-made loops that use what a tensor library cannot know: that inputs and latents are bits.

Numba compiles them. For each there is plain PyTorch code that gives the same, and tests compare the
two. A kernel is imported only when it is used, so without Numba everything works, only slower.
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
    """Allow or forbid kernels in this block.

    With ``run.engine=plain`` they are forbidden everywhere.
    """
    global _wanted
    outside = _wanted
    _wanted = wanted
    try:
        yield
    finally:
        _wanted = outside


def allowed() -> bool:
    """Whether code that has a kernel may use it here.

    It may if nothing forbids it, this machine has kernels, and torch is not compiling the code.
    Compiled code cannot call a kernel, and torch would warn of the cache of ``missing``.
    """
    return _wanted and not torch.compiler.is_compiling() and not missing()


def loaded() -> bool:
    """Whether this process has already loaded the compiler, which takes up to a second."""
    return f"{__name__}.compiler" in sys.modules


@lru_cache(maxsize=1)
def missing() -> str:
    """Return why there are no kernels on this machine, in words; '' if there are."""
    try:
        import numba
    except ImportError as e:
        return " ".join(str(e).split())
    return "" if hasattr(numba, "njit") else "numba is broken"


LEAST, MOST = 16, 800
"""Smallest and largest side of an RBM that the kernels take, in units. A side must fill at least
one vector. Up to the largest side no product of factors 1 + e^-|logit| overflows.
"""


def plain(v: Tensor) -> bool:
    """Whether a kernel can take this tensor.

    It must be float32 on a CPU, and torch must be neither compiling nor mapping (``vmap``,
    ``grad``) the code.
    """
    if torch.compiler.is_compiling():
        return False
    mapped = torch._C._functorch.is_functorch_wrapped_tensor(v)
    return v.device.type == "cpu" and v.dtype == torch.float32 and not mapped


def takes(*tensors: Tensor) -> bool:
    """Whether kernels may read these tensors: ``plain`` ones, none of which needs a gradient."""
    tracked = torch.is_grad_enabled()
    return all(plain(v) and not (tracked and v.requires_grad) for v in tensors)


def fits(w: Tensor) -> bool:
    """Whether there are kernels for the chains of an RBM with these couplings, (n1, n2)."""
    return w.dim() == 2 and all(LEAST <= n <= MOST for n in w.shape) and plain(w)


FEW = 3
"""Largest number of chains of each of many RBMs for which the kernel is faster. It moves one chain
after the other; with more chains one product for all of them is faster.
"""


def few(w: Tensor, z: Tensor) -> bool:
    """Whether there is a kernel for chains ``z`` (k, batch, n) of many RBMs.

    The couplings ``w`` are (batch, n1, n2).
    """
    return w.dim() == z.dim() == 3 and len(z) <= FEW and plain(w)
