"""log p(x) of independent Bernoulli units in one pass over their logits, and Gibbs sweeps by it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from numba import float32
from torch import Tensor

from vaebench.kernels.bernoulli import FLUSH
from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    exp_minus_abs,
    less,
    load,
    load_first,
    mul,
    product,
    splat,
    sub,
    total,
)


@kernel
def score_rows(x, logits, rows, units, scores):
    """Compute sum x l - softplus(l) of every row of ``units`` values ``x`` and logits l, float32.

    softplus(l) = relu(l) + log(1 + e^-|l|). The factors 1 + e^-|l|, in [1, 2], are multiplied
    before the logarithm is taken.
    """
    zero = splat(float32(0))
    one = splat(float32(1))
    for r in range(rows):
        sums = zero
        factors = one
        logs = 0.0
        waiting = 0
        for c in range(0, units, LANES):
            at = r * units + c
            if c + LANES <= units:
                values = load(x, at)
                logit = load(logits, at)
            else:
                # Lanes beyond the row hold the logit 0: each is a factor of 1 + e^0 = 2 too many.
                values = load_first(x, at, units - c)
                logit = load_first(logits, at, units - c)
                logs -= (c + LANES - units) * math.log(2.0)

            sums = add(sums, sub(mul(values, logit), choose(less(zero, logit), logit, zero)))
            factors = mul(factors, add(one, exp_minus_abs(logit)))
            waiting += 1
            if waiting == FLUSH:
                logs += math.log(product(factors))
                factors = one
                waiting = 0

        scores[r] = total(sums) - (logs + math.log(product(factors)))


def log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x), (rows,), nats, of zeros and ones ``x`` given ``logits``, both (rows, n).

    float32 on the CPU, without gradient.
    """
    rows, units = logits.shape
    out = torch.empty(rows)
    arrays = (v.detach().contiguous().numpy().reshape(-1) for v in (x, logits))
    score_rows(*arrays, rows, units, out.numpy())
    return out


@kernel
def settle(z, units, i, now, other, uniform):
    """Make Gibbs draws of bit ``i`` of every row of ``z`` (rows, units), in place.

    The bit is flipped on entry. ``now`` (rows,) is log p before the flip, and becomes that of the
    bits drawn; ``other`` (rows,) is log p of the flipped bits. A bit is 1 where u > sigmoid(-logit)
    with the logit log p(bit 1) - log p(bit 0); a uniform of 0 counts as 2^-25.
    """
    for r in range(len(now)):
        flipped = z[r * units + i]
        logit = other[r] - now[r] if flipped > 0.5 else now[r] - other[r]
        u = uniform[r] if uniform[r] > 0.0 else float32(2.0**-25)

        # u > sigmoid(-l), multiplied by the denominator of the sigmoid; compare ``chains.rises``.
        fires = u * (1.0 + math.exp(-abs(logit))) > (math.exp(-abs(logit)) if logit >= 0.0 else 1.0)
        bit = float32(1.0) if fires else float32(0.0)

        # Keep the flip, whose log p is known, or undo it.
        if bit == flipped:
            now[r] = other[r]
        else:
            z[r * units + i] = bit


def sweep_bits(log_p: Callable[[Tensor], Tensor], z: Tensor, u: Tensor) -> Tensor:
    """Make the Gibbs sweeps of ``objectives.bit_gibbs.sweep_bits``, for float32 on the CPU.

    ``log_p`` is called with bits that change in place.
    """
    # ``flat`` and ``values`` share the memory of z and its log p, so ``settle`` changes these.
    z, log_p_z = z.detach().clone(), log_p(z).clone()
    flat = z.numpy().reshape(-1)
    values = log_p_z.numpy()

    # The bits are flipped for all rows at once, so that one call of ``log_p`` serves them all.
    for sweep in u.unbind():
        for i, v in enumerate(sweep.unbind()):
            z[:, i] = 1 - z[:, i]
            settle(flat, z.shape[1], i, values, log_p(z).numpy(), v.contiguous().numpy())
    return z
