"""Logits of a NADE and their gradient.

Before pixel d the hidden units are h = sigmoid(a) with a = hidden + sum_{e<d} x_e weight_e, and the
pixel's logit is output_d . h. They change only where a pixel is on, so most steps compute no
sigmoid. A few neighbouring pixels are taken for all examples before the next ones, so that their
weights stay in the cache.

All arrays are flat: ``x``, ``logits`` and their gradient ``g`` (rows, pixels); ``a``, ``h`` and
their gradients ``da``, ``dh`` (rows, units); ``weight``, ``output`` and theirs (pixels, units). A
row of units is not padded.

Reference:
    Larochelle & Murray 2011, The Neural Autoregressive Distribution Estimator, equations 10 and 11.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    div,
    exp_minus_abs,
    fma,
    less,
    load_row,
    mul,
    splat,
    store_row,
    sub,
    total,
)

PIXELS = 8
"""Number of pixels of a block: the rows of weights and of gradients that belong to them fit in the
first caches.
"""


@kernel
def squash(a, h, at, units):
    """Set ``h`` = sigmoid(``a``), ``units`` numbers from ``at`` on in both."""
    # sigmoid(v) is 1 / (1 + e^-|v|), or e^-|v| / (1 + e^-|v|) where v < 0.
    zero = splat(float32(0))
    one = splat(float32(1))
    for j in range(0, units, LANES):
        left = units - j
        v = load_row(a, at + j, left)
        e = exp_minus_abs(v)
        store_row(h, at + j, div(choose(less(v, zero), e, one), add(one, e)), left)


@kernel
def move(a, at, weight, row, units, step):
    """Add step * a row of ``weight`` to ``a``."""
    factor = splat(step)
    for j in range(0, units, LANES):
        left = units - j
        store_row(
            a, at + j, fma(factor, load_row(weight, row + j, left), load_row(a, at + j, left)), left
        )


@kernel
def drives(x, weight, output, rows, pixels, units, a, h, logits):
    """Compute the logits (rows, pixels) without the biases.

    ``a`` (rows, units) holds the hidden biases at first, and the sums over all pixels at the end.
    """
    # Each row keeps its own a and h between two blocks of pixels.
    for r in range(rows):
        squash(a, h, r * units, units)

    for start in range(0, pixels, PIXELS):
        stop = min(pixels, start + PIXELS)
        for r in range(rows):
            at = r * units
            for d in range(start, stop):
                row = d * units
                logit = splat(float32(0))
                for j in range(0, units, LANES):
                    left = units - j
                    logit = fma(load_row(output, row + j, left), load_row(h, at + j, left), logit)
                logits[r * pixels + d] = total(logit)

                # Only after its logit is known may a pixel move the hidden units.
                pixel = x[r * pixels + d]
                if pixel != 0:
                    move(a, at, weight, row, units, pixel)
                    squash(a, h, at, units)


@kernel
def through(dh, h, da, at, units):
    """Add dh h (1 - h) to ``da``, and set ``dh`` to 0."""
    zero = splat(float32(0))
    one = splat(float32(1))
    for j in range(0, units, LANES):
        left = units - j
        v = load_row(h, at + j, left)
        slope = mul(v, sub(one, v))
        store_row(
            da, at + j, fma(load_row(dh, at + j, left), slope, load_row(da, at + j, left)), left
        )
        store_row(dh, at + j, zero, left)


@kernel
def gradients(x, weight, output, g, rows, pixels, units, a, h, dh, da, dweight, doutput):
    """Compute the gradients from those of the logits, ``g`` (rows, pixels), the last pixel first.

    ``a`` holds the sums over all pixels at first. ``dh``, ``da`` (rows, units), ``dweight`` and
    ``doutput`` begin as zeros. At the end ``da`` is the gradient of the hidden biases, example by
    example.
    """
    # On the way back ``a`` and ``h`` are those after pixel d. ``dh`` collects the gradient of the
    # present h from all logits that it gave; ``da`` has what later values of h have passed on. As
    # long as pixels are off, h and so its slope stay the same, and ``dh`` only grows.
    for r in range(rows):
        squash(a, h, r * units, units)

    blocks = -(-pixels // PIXELS)
    for block in range(blocks - 1, -1, -1):
        start = block * PIXELS
        stop = min(pixels, start + PIXELS)

        for r in range(rows):
            at = r * units
            for d in range(stop - 1, start - 1, -1):
                row = d * units
                pixel = x[r * pixels + d]
                # Undo the pixel's step. Gradients pass to its weights, from the hidden units after
                # it.
                if pixel != 0:
                    through(dh, h, da, at, units)
                    move(dweight, row, da, at, units, pixel)
                    move(a, at, weight, row, units, -pixel)
                    squash(a, h, at, units)

                # The pixel's logit output_d . h, with h as it was before the pixel.
                slope = splat(g[r * pixels + d])
                for j in range(0, units, LANES):
                    left = units - j
                    down = fma(slope, load_row(output, row + j, left), load_row(dh, at + j, left))
                    store_row(dh, at + j, down, left)
                    up = fma(slope, load_row(h, at + j, left), load_row(doutput, row + j, left))
                    store_row(doutput, row + j, up, left)

    # What is left belongs to the first h, sigmoid(hidden).
    for r in range(rows):
        through(dh, h, da, r * units, units)


class Logits(torch.autograd.Function):
    """``logits`` with its gradient."""

    @staticmethod
    def forward(ctx, x, weight, hidden, output):
        x = x.detach().contiguous()
        weight = weight.detach().contiguous()
        output = output.detach().contiguous()
        rows, pixels = x.shape
        units = len(hidden)
        a = hidden.detach().repeat(rows, 1)
        out = torch.empty(rows, pixels)

        arrays = [_flat(v) for v in (x, weight, output)]
        drives(
            *arrays, rows, pixels, units, _flat(a), np.empty(rows * units, np.float32), _flat(out)
        )

        # The kernel has left the sums over all pixels in ``a``, from which ``backward`` starts.
        ctx.save_for_backward(x, weight, output, a)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, weight, output, a = ctx.saved_tensors
        rows, pixels = x.shape
        units = a.shape[1]
        # A copy, since the kernel changes it, and ``backward`` may be called again.
        a = a.clone()
        da = torch.zeros(rows, units)
        dweight = torch.zeros(pixels, units)
        doutput = torch.zeros(pixels, units)

        arrays = [_flat(v) for v in (x, weight, output, g.contiguous())]
        work = [np.empty(rows * units, np.float32), np.zeros(rows * units, np.float32)]
        gradients(
            *arrays, rows, pixels, units, _flat(a), *work, _flat(da), _flat(dweight), _flat(doutput)
        )
        return None, dweight, da.sum(0), doutput


def logits(x: Tensor, weight: Tensor, hidden: Tensor, output: Tensor) -> Tensor:
    """Return output_d . sigmoid(hidden + sum_{e<d} x_e weight_e) for every pixel d.

    Args:
        x: (batch, d), float32 on a CPU, without gradient.
        weight: (d, units).
        hidden: (units,).
        output: (d, units).

    Returns:
        (batch, d). There is a first derivative, no second one.
    """
    return Logits.apply(x, weight, hidden, output)


def _flat(v: Tensor) -> np.ndarray:
    return v.reshape(-1).numpy()
