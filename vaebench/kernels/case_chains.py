"""Markov chains of the posteriors of a batch of examples: many Boltzmann machines, few chains each.

A table of sums (``bits``) does not pay for so few chains. Instead each RBM makes all its sweeps
at once, so that its couplings (n1, n2) are fetched from far memory only once. For side 2, the rows
of the couplings whose bit is 1 are summed; for side 1, each row is multiplied with the bits.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import float32
from torch import Tensor

from vaebench.kernels.chains import rises
from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    fma,
    load,
    load_first,
    load_row,
    splat,
    store_row,
    total,
)


@kernel
def sum_listed(w, first, stride, listed, count, left):
    """Return 16 columns of the sum of the rows ``listed[:count]``, or the ``left`` last columns."""
    # Two sums, since an addition waits for the one before it.
    sum_a = splat(float32(0))
    sum_b = sum_a
    if left >= LANES:
        for j in range(0, count - 1, 2):
            sum_a = add(sum_a, load(w, first + listed[j] * stride))
            sum_b = add(sum_b, load(w, first + listed[j + 1] * stride))
        if count % 2:
            sum_a = add(sum_a, load(w, first + listed[count - 1] * stride))
    else:
        for j in range(count):
            sum_a = add(sum_a, load_first(w, first + listed[j] * stride, left))

    return add(sum_a, sum_b)


@kernel
def gibbs_each(w, b1, b2, z1, z2, chains, batch, n1, n2, u2, u1, sweeps, listed, logits):
    """Run sweeps, side 2 first, of ``chains`` chains of every RBM.

    ``z1`` (chains, batch, n1) is moved in place. ``w`` is (batch, n1, n2), the noise (sweeps,
    chains, batch, n). ``listed`` has room for n1 numbers, ``logits`` for 16.
    """
    # Rows are not padded here, so each read says how much of its row is left, such as n2 - c.
    zero = splat(float32(0))
    one = splat(float32(1))
    for m in range(batch):
        first = m * n1 * n2
        for k in range(chains):
            at1 = (k * batch + m) * n1
            at2 = (k * batch + m) * n2
            for s in range(sweeps):
                # Side 2 given side 1: sum the rows of w whose bit is 1. The list of these rows
                # grows without a branch: each number is written, and kept if its bit is 1.
                count = 0
                for i in range(n1):
                    listed[count] = i
                    count += z1[at1 + i] > 0.5

                noise = ((s * chains + k) * batch + m) * n2
                for c in range(0, n2, LANES):
                    product = sum_listed(w, first + c, n2, listed, count, n2 - c)
                    logit = add(load_row(b2, m * n2 + c, n2 - c), product)
                    bits = rises(logit, load_row(u2, noise + c, n2 - c))
                    store_row(z2, at2 + c, choose(bits, one, zero), n2 - c)

                # Side 1 given side 2: multiply each row of w with the bits. 16 units at a time,
                # whose logits are collected in one vector.
                noise = ((s * chains + k) * batch + m) * n1
                for r in range(0, n1, LANES):
                    for i in range(r, min(r + LANES, n1)):
                        product = zero
                        for c in range(0, n2, LANES):
                            row = load_row(w, first + i * n2 + c, n2 - c)
                            product = fma(row, load_row(z2, at2 + c, n2 - c), product)
                        logits[i - r] = total(product)
                    logit = add(load_row(b1, m * n1 + r, n1 - r), load(logits, 0))
                    bits = rises(logit, load_row(u1, noise + r, n1 - r))
                    store_row(z1, at1 + r, choose(bits, one, zero), n1 - r)


def gibbs(
    b1: Tensor, b2: Tensor, w: Tensor, z1: Tensor, u2: Tensor, u1: Tensor
) -> tuple[Tensor, Tensor]:
    """Run sweeps of chains from ``z1`` (k, batch, n1), zeros and ones.

    Biases are (batch, n), couplings (batch, n1, n2), the noise (sweeps, k, batch, n). Returns the
    new (z1, z2), float32.
    """
    chains, (batch, n1, n2) = len(z1), w.shape
    z1 = z1.to(torch.float32, copy=True).contiguous()
    z2 = torch.empty(chains, batch, n2)

    parameters = (_row(v) for v in (w, b1, b2))
    noise = (_row(u.expand(-1, *z.shape)) for u, z in ((u2, z2), (u1, z1)))
    room = np.empty(n1, np.int64), np.empty(LANES, np.float32)
    # ``_row`` shares the memory of z1 and z2, so the kernel writes to these.
    gibbs_each(*parameters, _row(z1), _row(z2), chains, batch, n1, n2, *noise, len(u2), *room)
    return z1, z2


def _row(v: Tensor) -> np.ndarray:
    """Return a tensor as an array of one axis, float32."""
    return v.detach().to(torch.float32).contiguous().numpy().reshape(-1)
