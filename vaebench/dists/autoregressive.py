"""Autoregressive Bernoulli units: P(h_j = 1 | h_<j) = sigmoid(a_j + sum_{k<j} R_jk h_k).

A density needs one masked matrix product. Sampling goes unit after unit in principle, but given the
noise it is a fixed point: h = [noise < a + R h] with R strictly lower triangular has exactly one
solution, the ancestral sample, and iterating the right-hand side reaches it. After t rounds the
first t units are final, so n rounds are always enough. In practice a few rounds are, because ``a``
alone decides most units. The rounds stop as soon as nothing changes, which is exact and not an
approximation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.rng.noise import inside

BLOCK = 64
"""Units that are solved together; earlier blocks enter by one matrix product. It changes the speed
only, never the sample."""


def strictly_lower(weight: Tensor) -> Tensor:
    """Return ``weight`` (n, n) with everything on and above the diagonal set to zero.

    Unit j then sees only the units k < j.
    """
    return torch.tril(weight, -1)


def logits(h: Tensor, a: Tensor, weight: Tensor) -> Tensor:
    """Return the logits of every unit given the units before it, (..., n).

    ``h`` is (..., n), ``a`` broadcasts to it, and ``weight`` is (n, n).
    """
    return a + h @ strictly_lower(weight).transpose(-1, -2)


def log_prob(h: Tensor, a: Tensor, weight: Tensor) -> Tensor:
    """Return log p(h), nats, summed over the last axis."""
    return bernoulli.log_prob(h, logits(h, a, weight))


def sample(a: Tensor, weight: Tensor, uniform: Tensor) -> Tensor:
    """Return ancestral samples (..., n) of zeros and ones from ``uniform`` noise of that shape.

    The noise is uniform on (0, 1). A zero in it becomes a tiny positive number
    (``noise.inside``). ``a`` broadcasts to the noise. No gradient passes. The function works under
    vmap and torch.compile.
    """
    a = a.detach()
    weight = strictly_lower(weight.detach())
    uniform = inside(uniform.detach())
    a = a.expand(uniform.shape)

    # The operator takes all leading axes as one, (m, n), in contiguous memory.
    flat = uniform.reshape(-1, uniform.shape[-1])

    # An exported program runs where our own operator does not exist.
    solve = _rounds if torch.compiler.is_exporting() else _solve
    return solve(
        a.reshape(flat.shape).contiguous(), weight.contiguous(), flat.contiguous()
    ).reshape(uniform.shape)


def _rounds(a: Tensor, weight: Tensor, uniform: Tensor) -> Tensor:
    """Return the fixed point h (..., m, n) of ``a`` and ``uniform``, both (..., m, n).

    ``weight`` (..., n, n) is strictly lower triangular.
    """
    n = a.shape[-1]
    # u < sigmoid(s) is the same as logit(u) < s. The logit is computed once, which saves a sigmoid
    # in each round.
    threshold = torch.log(uniform) - torch.log1p(-uniform)

    h = torch.empty_like(a)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)

        # The units of earlier blocks are final, so they enter the logits once. A unit fires if its
        # logit exceeds the threshold of its noise.
        base = a[..., start:end] - threshold[..., start:end]
        if start:
            base = base + h[..., :start] @ weight[..., start:end, :start].transpose(-1, -2)

        inner_weight = weight[..., start:end, start:end].transpose(-1, -2)

        # The first guess leaves the weights within the block out. It is right for the first unit,
        # and every round makes at least one more unit final, so end - start - 1 rounds are enough.
        block = (base > 0).to(a.dtype)
        for _ in range(end - start - 1):
            next_block = (base + block @ inner_weight > 0).to(a.dtype)
            # On a GPU all rounds run: to compare, the host would have to wait for the device, which
            # a captured graph cannot do.
            if (
                not a.is_cuda
                and not torch.compiler.is_exporting()
                and torch.equal(next_block, block)
            ):
                break
            block = next_block
        h[..., start:end] = block

    return h


# One operator, opaque to torch.compile and vmap: the number of rounds depends on the data, so the
# loop cannot be traced.
_solve = torch.library.custom_op("vaebench::autoregressive_sample", _rounds, mutates_args=())


@_solve.register_fake
def _(a: Tensor, weight: Tensor, uniform: Tensor) -> Tensor:
    return torch.empty_like(a)


@_solve.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], a: Tensor, weight: Tensor, uniform: Tensor
) -> tuple[Tensor, int]:
    def lead(x: Tensor, dim: int | None) -> Tensor:
        return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

    # ``_rounds`` takes any leading axes, so the mapped axis needs only to stand in front of all
    # three.
    args = [lead(x, d).contiguous() for x, d in zip((a, weight, uniform), in_dims, strict=True)]
    return _solve(*args), 0
