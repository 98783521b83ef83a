"""Batch normalisation of channels, a residual and ELU, in few passes over memory.

elu(scale (x - mean) / sd + shift + residual), with the channels beside each other in memory
("channels last"). PyTorch takes a dozen passes for it. Numbers are float32, or bfloat16 on which
the arithmetic is float32 too.
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
    exp_minus_abs,
    fma,
    less,
    load,
    mul,
    read,
    splat,
    store,
    sub,
    write,
)

BLOCK = 64
"""Number of rows that are summed at once: with all their channels they fit in the first cache."""


@kernel
def statistics(x, rows, channels, mean, variance):
    """Write mean and variance of every channel of ``x`` (rows, channels).

    They go to ``mean`` and ``variance`` (channels,). Both come from sums of differences from the
    mean of a few rows, so that a large mean costs no digits.
    """
    # A first guess of the mean, from a few rows at equal distances.
    few = min(rows, BLOCK)
    totals = np.zeros(channels, np.float32)
    squares = np.zeros(channels, np.float32)
    for c in range(0, channels, LANES):
        total = splat(float32(0))
        for r in range(few):
            total = add(total, read(x, (r * rows // few) * channels + c))
        store(mean, c, mul(total, splat(float32(1 / few))))

    # Sums of the differences from it, and of their squares. Each block of rows is summed by itself
    # first: the rows stay in the first cache for all channels, the sums of a channel in registers.
    for start in range(0, rows, BLOCK):
        stop = min(rows, start + BLOCK)
        for c in range(0, channels, LANES):
            near = load(mean, c)
            total = splat(float32(0))
            square = splat(float32(0))
            for r in range(start, stop):
                off = sub(read(x, r * channels + c), near)
                total = add(total, off)
                square = fma(off, off, square)
            store(totals, c, add(load(totals, c), total))
            store(squares, c, add(load(squares, c), square))

    # The mean of the differences corrects both: mean = guess + E[off], and the variance is
    # E[off^2] - E[off]^2.
    share = splat(float32(1 / rows))
    for c in range(0, channels, LANES):
        off = mul(share, load(totals, c))
        square = mul(share, load(squares, c))
        store(mean, c, add(load(mean, c), off))
        store(variance, c, sub(square, mul(off, off)))


@kernel
def activate(x, residual, rows, channels, slope, offset, out):
    """Set ``out`` = elu(slope x + offset + residual).

    ``residual`` is as long as ``x``, or empty if there is none.
    """
    added = len(residual) > 0
    zero = splat(float32(0))
    one = splat(float32(1))
    for r in range(rows):
        for c in range(0, channels, LANES):
            at = r * channels + c
            u = fma(read(x, at), load(slope, c), load(offset, c))
            if added:
                u = add(u, read(residual, at))
            write(out, at, choose(less(u, zero), sub(exp_minus_abs(u), one), u))


@kernel
def gradients(dout, out, x, rows, channels, mean, g, dshift, dscale):
    """Set ``g`` = dout elu', and add its sums over rows, plain and times x - mean.

    ``dshift`` and ``dscale`` get the sums, and begin as zeros.
    """
    # elu'(u) = e^u = elu(u) + 1 where u < 0, else 1: the output is enough, u need not be kept.
    zero = splat(float32(0))
    one = splat(float32(1))
    for start in range(0, rows, BLOCK):
        stop = min(rows, start + BLOCK)
        for c in range(0, channels, LANES):
            middle = load(mean, c)
            sum_g = splat(float32(0))
            sum_gx = splat(float32(0))
            for r in range(start, stop):
                at = r * channels + c
                y = read(out, at)
                v = mul(read(dout, at), choose(less(y, zero), add(y, one), one))
                write(g, at, v)
                sum_g = add(sum_g, v)
                sum_gx = fma(v, sub(read(x, at), middle), sum_gx)
            store(dshift, c, add(load(dshift, c), sum_g))
            store(dscale, c, add(load(dscale, c), sum_gx))


@kernel
def through(g, x, rows, channels, slope, mean, pull, level, dx):
    """Set ``dx`` = slope (g - level - pull (x - mean))."""
    for r in range(rows):
        for c in range(0, channels, LANES):
            at = r * channels + c
            off = sub(read(x, at), load(mean, c))
            v = sub(read(g, at), fma(off, load(pull, c), load(level, c)))
            write(dx, at, mul(v, load(slope, c)))


class NormElu(torch.autograd.Function):
    """``batch_norm_elu`` by the batch's own statistics, with its gradient."""

    @staticmethod
    def forward(ctx, x, residual, scale, shift, epsilon):
        x = _rows(x)
        residual = None if residual is None else _rows(residual).to(x.dtype)
        channels = x.shape[1]
        rows = x.numel() // channels
        mean = torch.empty(channels)
        variance = torch.empty(channels)
        statistics(_flat(x), rows, channels, mean.numpy(), variance.numpy())

        # Normalisation, scale and shift are one affine function of each channel.
        inverse_sd = torch.rsqrt(variance + epsilon)
        slope = scale.detach() * inverse_sd
        offset = shift.detach() - mean * slope
        out = _activated(x, residual, slope, offset)

        ctx.save_for_backward(x, out, mean, inverse_sd, slope)
        ctx.added = residual is not None
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, *_):
        x, out, mean, inverse_sd, slope = ctx.saved_tensors
        dout = _rows(dout).to(x.dtype)
        channels = x.shape[1]
        rows = x.numel() // channels
        g = torch.empty_like(x)
        dshift = torch.zeros(channels)
        dscale = torch.zeros(channels)
        sums = (dshift.numpy(), dscale.numpy())
        gradients(_flat(dout), _flat(out), _flat(x), rows, channels, mean.numpy(), _flat(g), *sums)

        # With g the gradient before ELU, which is that of the residual too, and sums over rows:
        # dx = slope (g - mean g - (x - mean) (sum g (x - mean)) / (sd^2 rows)). Here ``dscale`` is
        # sum g (x - mean), still without 1 / sd.
        pull = dscale * inverse_sd * inverse_sd / rows
        level = dshift / rows
        # Without a residual nobody needs g any more.
        dx = torch.empty_like(x) if ctx.added else g
        through(
            _flat(g),
            _flat(x),
            rows,
            channels,
            slope.numpy(),
            mean.numpy(),
            pull.numpy(),
            level.numpy(),
            _flat(dx),
        )
        return dx, g if ctx.added else None, dscale * inverse_sd, dshift, None


def batch_norm_elu(
    x: Tensor, residual: Tensor | None, scale: Tensor, shift: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return elu(scale (x - mean) / sqrt(variance + epsilon) + shift + residual).

    Mean and variance are those of the batch.

    Args:
        x: (batch, channels, h, w), float32 or bfloat16 on a CPU; the number of channels is a
            multiple of ``LANES``.
        residual: Of the same shape, or None.
        scale, shift: (channels,), float32.
        epsilon: Added to a variance.

    Returns:
        The result, channels last in memory; mean and variance of the batch, (channels,), without
        gradient. The variance has no degrees-of-freedom correction. There is a first derivative, no
        second one.
    """
    return NormElu.apply(x, residual, scale, shift, epsilon)


def affine_elu(x: Tensor, residual: Tensor | None, slope: Tensor, offset: Tensor) -> Tensor:
    """Return elu(slope x + offset + residual) without gradient.

    The shapes are those of ``batch_norm_elu``.
    """
    x = _rows(x)
    residual = None if residual is None else _rows(residual).to(x.dtype)
    return _activated(x, residual, slope, offset)


def _activated(x: Tensor, residual: Tensor | None, slope: Tensor, offset: Tensor) -> Tensor:
    """Return elu(slope x + offset + residual); ``x`` and ``residual`` as ``_rows`` gives them."""
    channels = x.shape[1]
    out = torch.empty_like(x)
    activate(
        _flat(x),
        _flat_residual(residual, x),
        x.numel() // channels,
        channels,
        slope.numpy(),
        offset.numpy(),
        _flat(out),
    )
    return out


def _rows(x: Tensor) -> Tensor:
    return x.detach().contiguous(memory_format=torch.channels_last)


def _flat_residual(residual: Tensor | None, x: Tensor) -> np.ndarray:
    """Return the numbers of a residual input beside ``x``; of None an empty array."""
    return _flat(x)[:0] if residual is None else _flat(residual)


def _flat(x: Tensor) -> np.ndarray:
    """Return the numbers of a tensor whose channels are last in memory, in their order there."""
    x = x.permute(0, 2, 3, 1).reshape(-1)
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()
