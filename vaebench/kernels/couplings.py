"""Boltzmann machines of bits, one for every example, from an encoder's output.

The couplings are normalised, scaled, and turned from spins to bits. ``models.rbm_posterior`` does
this in fifteen passes over a million couplings, and twice as many backwards. Here the couplings of
the batch are read three times, for mean, variance and result, and twice backwards.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from vaebench.kernels.compiler import kernel
from vaebench.kernels.rbm import padded
from vaebench.kernels.vectors import (
    LANES,
    add,
    div,
    fma,
    load,
    load_row,
    mul,
    splat,
    sqrt,
    store,
    store_row,
    sub,
    total,
)


@kernel
def forward(raw, batch, n1, n2, scale, shift, epsilon, factor, mean, variance, slope, w, b1, b2):
    """Compute the RBMs of the rows h1, h2, x of ``raw``.

    J = factor (scale (x - mean) / sd + shift), and then as in ``models.rbm_posterior.from_spins``.

    Args:
        scale, shift: Of each coupling, (n1 n2,).
        mean, variance: Of each coupling, (n1 n2,); they begin as zeros.
        slope: Becomes factor scale / sd, (n1 n2,).
        w, b1: (batch, n1, n2) and (batch, n1), the results.
        b2: (batch, n2 padded), begins as zeros.
    """
    width = -(-n2 // LANES) * LANES
    size = n1 * n2
    row = n1 + n2 + size
    share = splat(float32(1 / batch))
    factors = splat(float32(factor))
    epsilons = splat(float32(epsilon))
    two = splat(float32(2))
    four = splat(float32(4))

    # Mean, then variance of each coupling over the batch. The couplings of an example begin at
    # ``first``, behind its fields h1 and h2.
    for k in range(batch):
        first = k * row + n1 + n2
        for c in range(0, size, LANES):
            left = size - c
            store_row(
                mean, c, fma(share, load_row(raw, first + c, left), load_row(mean, c, left)), left
            )

    for k in range(batch):
        first = k * row + n1 + n2
        for c in range(0, size, LANES):
            left = size - c
            x = sub(load_row(raw, first + c, left), load_row(mean, c, left))
            store_row(variance, c, fma(mul(share, x), x, load_row(variance, c, left)), left)

    # sd = sqrt(variance + epsilon).
    for c in range(0, size, LANES):
        left = size - c
        sd = sqrt(add(load_row(variance, c, left), epsilons))
        store_row(slope, c, mul(factors, div(load_row(scale, c, left), sd)), left)

    # Spins to bits: W = 4 J, b1 = 2 (h1 - J 1), b2 = 2 (h2 - J' 1). The pass over the rows of J
    # finishes each row sum J 1, and adds up the column sums J' 1 in the place of b2.
    for k in range(batch):
        for i in range(n1):
            row_sum = splat(float32(0))
            for c in range(0, n2, LANES):
                at = i * n2 + c
                left = n2 - c
                x = sub(load_row(raw, k * row + n1 + n2 + at, left), load_row(mean, at, left))
                j = fma(x, load_row(slope, at, left), mul(factors, load_row(shift, at, left)))
                store_row(w, k * size + at, mul(four, j), left)
                store(b2, k * width + c, add(load(b2, k * width + c), j))
                row_sum = add(row_sum, j)
            b1[k * n1 + i] = float32(2) * (raw[k * row + i] - total(row_sum))

        for c in range(0, n2, LANES):
            h2 = load_row(raw, k * row + n1 + c, n2 - c)
            store(b2, k * width + c, mul(two, sub(h2, load(b2, k * width + c))))


@kernel
def backward(
    raw,
    batch,
    n1,
    n2,
    epsilon,
    factor,
    mean,
    variance,
    slope,
    dw,
    db1,
    db2,
    draw,
    dscale,
    dshift,
    pull,
):
    """Compute the gradients of ``raw``, scale and shift from those of the RBMs.

    As W = 4 J, b1 = 2 (h1 - J 1) and b2 = 2 (h2 - J' 1), the gradient of the coupling J_ij is
    g = 4 dw_ij - 2 (db1_i + db2_j), and those of the fields are 2 db1 and 2 db2. Let x be the input
    of a coupling minus its mean. Sums are over the batch. Then
    dshift = factor sum g, dscale = factor sum g x / sd and
    dx = slope (g - sum g / batch - x (sum g x / sd^2) / batch).

    ``dscale`` and ``dshift`` begin as zeros; ``pull`` has room for as many numbers. ``db2`` is
    (batch, n2 padded). ``draw`` is the gradient of ``raw``.
    """
    width = -(-n2 // LANES) * LANES
    size = n1 * n2
    row = n1 + n2 + size
    share = splat(float32(1 / batch))
    factors = splat(float32(factor))
    epsilons = splat(float32(epsilon))
    minus_two = splat(float32(-2))
    four = splat(float32(4))

    # The sums of g and of g x of each coupling, in the places of dshift and dscale.
    for k in range(batch):
        for i in range(n1):
            bias_gradient = splat(db1[k * n1 + i])
            for c in range(0, n2, LANES):
                at = i * n2 + c
                left = n2 - c
                g = mul(minus_two, add(bias_gradient, load(db2, k * width + c)))
                g = fma(four, load_row(dw, k * size + at, left), g)
                x = sub(load_row(raw, k * row + n1 + n2 + at, left), load_row(mean, at, left))
                store_row(dshift, at, add(load_row(dshift, at, left), g), left)
                store_row(dscale, at, fma(g, x, load_row(dscale, at, left)), left)

    # pull = (sum g x / sd^2) / batch. dscale is final now; dshift is not, as sum g is needed again.
    for c in range(0, size, LANES):
        left = size - c
        square = add(load_row(variance, c, left), epsilons)
        sum_gx = load_row(dscale, c, left)
        store_row(pull, c, mul(share, div(sum_gx, square)), left)
        store_row(dscale, c, mul(factors, div(sum_gx, sqrt(square))), left)

    # The same g, computed again, less its parts along 1 and x.
    for k in range(batch):
        for i in range(n1):
            bias_gradient = splat(db1[k * n1 + i])
            draw[k * row + i] = float32(2) * db1[k * n1 + i]
            for c in range(0, n2, LANES):
                at = i * n2 + c
                left = n2 - c
                g = mul(minus_two, add(bias_gradient, load(db2, k * width + c)))
                g = fma(four, load_row(dw, k * size + at, left), g)
                x = sub(load_row(raw, k * row + n1 + n2 + at, left), load_row(mean, at, left))
                g = sub(g, fma(x, load_row(pull, at, left), mul(share, load_row(dshift, at, left))))
                store_row(draw, k * row + n1 + n2 + at, mul(load_row(slope, at, left), g), left)

        for c in range(0, n2, LANES):
            bias_gradient = load(db2, k * width + c)
            store_row(draw, k * row + n1 + c, add(bias_gradient, bias_gradient), n2 - c)

    for c in range(0, size, LANES):
        left = size - c
        store_row(dshift, c, mul(factors, load_row(dshift, c, left)), left)


class Couplings(torch.autograd.Function):
    """``rbms`` with its gradient."""

    @staticmethod
    def forward(ctx, raw, scale, shift, n1, n2, epsilon, factor):
        batch = len(raw)
        raw = raw.contiguous()
        mean, variance, slope = (torch.zeros(n1 * n2) for _ in range(3))
        b1 = torch.empty(batch, n1)
        b2 = padded(torch.zeros(batch, n2))
        w = torch.empty(batch, n1, n2)

        # ``_row`` shares memory, so the kernel (``forward`` of this module) fills these tensors.
        filled = (_row(v) for v in (mean, variance, slope, w, b1))
        forward(
            _row(raw),
            batch,
            n1,
            n2,
            _row(scale),
            _row(shift),
            epsilon,
            factor,
            *filled,
            b2.reshape(-1),
        )

        ctx.save_for_backward(raw, mean, variance, slope)
        ctx.settings = batch, n1, n2, epsilon, factor
        ctx.mark_non_differentiable(mean, variance)
        return b1, torch.from_numpy(b2)[:, :n2].contiguous(), w, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, db1, db2, dw, *_):
        raw, mean, variance, slope = ctx.saved_tensors
        draw, dscale, dshift, pull = (
            v(like) for v, like in ((torch.empty_like, raw), *[(torch.zeros_like, mean)] * 3)
        )

        given = (_row(dw.contiguous()), _row(db1.contiguous()), padded(db2).reshape(-1))
        filled = (_row(v) for v in (draw, dscale, dshift, pull))
        backward(_row(raw), *ctx.settings, _row(mean), _row(variance), _row(slope), *given, *filled)

        return draw, dscale, dshift, None, None, None, None


def _row(v: Tensor) -> np.ndarray:
    """Return a contiguous tensor as an array of one axis."""
    return v.detach().numpy().reshape(-1)


def rbms(
    raw: Tensor, scale: Tensor, shift: Tensor, sides: tuple[int, int], epsilon: float, factor: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Turn fields and couplings of spins into RBMs of bits.

    The couplings are normalised by their batch.

    Args:
        raw: The encoder's output, (batch, n1 + n2 + n1 n2): fields h1, h2, and couplings x.
        scale, shift: Of the normalisation, (n1 n2,).
        sides: n1, n2.
        epsilon: Added to a variance.
        factor: Scales the normalised couplings.

    Returns:
        b1 (batch, n1), b2 (batch, n2), w (batch, n1, n2); mean and variance of the batch, (n1 n2,),
        without gradient.
    """
    return Couplings.apply(raw, scale, shift, *sides, epsilon, factor)
