"""Exact answers for restricted Boltzmann machines by enumeration.

Values are in nats, in the RBM's own precision. One side is enumerated, and the other is summed
out in closed form: sum_z2 exp(-E) = exp(b1.z1) prod_j (1 + exp(b2 + z1 W)_j). States are taken in
chunks, so memory stays bounded, whatever the size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.protocol.log_z import MAX_SIDE
from vaebench.rng.noise import inside
from vaebench.work.steps import tick

MAX_UNITS = 16
"""Largest number of units whose states are all held in one table: of both sides together
(``log_probs``), or of the side that is drawn (``sample``)."""

CHUNK = 2**23
"""Floats of one chunk: states x RBMs x units of the larger side."""


class Moments(NamedTuple):
    """Exact log Z and the expected statistics.

    ``log_z`` (*batch), nats; ``mean1``, E[z1] (*batch, n1); ``mean2``, E[z2] (*batch, n2);
    ``mean12``, E[z1 z2'] (*batch, n1, n2).
    """

    log_z: Tensor
    mean1: Tensor
    mean2: Tensor
    mean12: Tensor


def states(units: int, like: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """Return vectors of zeros and ones, (states, units), of the dtype and device of ``like``.

    They are the states numbered ``start`` to ``stop`` - 1; by default all 2^units.
    """
    # Unit i of a state is bit i of its number.
    codes = torch.arange(start, 2**units if stop is None else stop, device=like.device)
    return ((codes[:, None] >> torch.arange(units, device=like.device)) & 1).to(like.dtype)


def log_z(rbm: RBM, chunk: int | None = None) -> Tensor:
    """Return log Z, nats, (*batch).

    It is differentiable, under torch.func too: to every order if all states fit into one chunk,
    else to first order. In the latter case the gradient is the expected statistics, found in the
    same pass over the states. ``chunk``: floats of one chunk; None: CHUNK. Raises ValueError if
    both sides have more than MAX_SIDE units.
    """
    rbm = _small_first(rbm)
    pieces = list(_pieces(rbm, chunk))

    if len(pieces) == 1:
        return torch.logsumexp(_log_weights(rbm, *pieces[0])[0], -1)

    # Over several chunks autograd would keep the logits of every state. The gradient is known
    # instead: d log Z / d b1 = E[z1], and so on.
    expected = _moments(rbm.detach(), pieces)
    # Each term is zero in value; its derivative is the expected statistic.
    pairs = ((p, statistic) for p, statistic in zip(rbm, expected[1:], strict=True))
    b1, b2, w = ((p - p.detach()) * statistic for p, statistic in pairs)
    return expected.log_z + b1.sum(-1) + b2.sum(-1) + w.sum((-2, -1))


def moments(rbm: RBM, chunk: int | None = None) -> Moments:
    """Return log Z and its gradient, the expected statistics; no gradient passes through them.

    Limits are those of ``log_z``.
    """
    small_first = _small_first(rbm.detach())
    expected = _moments(small_first, list(_pieces(small_first, chunk)))

    # If side 1 was the larger one, the sides were exchanged: change the statistics back.
    if small_first.b1.shape == rbm.b1.shape:
        return expected
    return Moments(expected.log_z, expected.mean2, expected.mean1, expected.mean12.mT)


def log_probs(rbm: RBM) -> tuple[Tensor, Tensor, Tensor]:
    """Return every joint state and its log p: z1 (states, n1), z2 (states, n2), (states, *batch).

    This is a second way to all of the above, which uses the energy and no other formula. Raises
    ValueError if there are more than MAX_UNITS units in total.
    """
    n1, n2 = rbm.w.shape[-2:]
    if n1 + n2 > MAX_UNITS:
        raise ValueError(f"{n1} + {n2} units cannot be tabulated; allowed: {MAX_UNITS} in total")

    z1, z2 = states(n1 + n2, rbm.w).split([n1, n2], 1)

    # Unnormalised log p = -E, (*batch, states).
    log_weights = rbm.b1 @ z1.mT + rbm.b2 @ z2.mT + torch.einsum("si,...ij,sj->...s", z1, rbm.w, z2)

    return (
        z1,
        z2,
        (log_weights - torch.logsumexp(log_weights, -1, keepdim=True)).movedim(-1, 0),
    )


def sample(rbm: RBM, u: Tensor, u_other: Tensor) -> tuple[Tensor, Tensor]:
    """Return independent exact samples (z1, z2), (k, *batch, n).

    The smaller side is drawn by inversion, then the other given it. ``u`` (k, *batch) and
    ``u_other`` (k, *batch, units of the larger side; of side 2 if both are equal) are uniform on
    (0, 1). Raises ValueError if the smaller side has more than MAX_UNITS units. No gradient passes.
    """
    small_first = _small_first(rbm.detach())
    units = small_first.b1.shape[-1]
    if units > MAX_UNITS:
        raise ValueError(f"a side of {units} units cannot be tabulated; allowed: {MAX_UNITS}")

    # Invert the distribution function over the states of the smaller side, (*batch, states), in
    # float64, so that the rounding of a long sum does not move the edges.
    log_weights = torch.cat(
        [_log_weights(small_first, *piece)[0] for piece in _pieces(small_first, None)], -1
    ).double()
    edges = torch.softmax(log_weights, -1).cumsum(-1)

    # Rounding may leave the last edge below 1, and noise above it must not pick a state beyond the
    # last one.
    state = torch.searchsorted(edges, u.movedim(0, -1).double().contiguous(), right=True).clamp(
        max=2**units - 1
    )

    # The number of a state has its units as bits, see ``states``.
    small_side = ((state.movedim(-1, 0)[..., None] >> torch.arange(units, device=u.device)) & 1).to(
        small_first.b1.dtype
    )

    # Given the smaller side, the units of the larger one are independent.
    large_side = (inside(u_other) > torch.sigmoid(-small_first.logits2(small_side))).to(
        small_side.dtype
    )
    return (
        (small_side, large_side)
        if small_first.b1.shape == rbm.b1.shape
        else (large_side, small_side)
    )


def _small_first(rbm: RBM) -> RBM:
    """Return the RBM with its smaller side first; the RBM itself if both are equal."""
    n1, n2 = rbm.w.shape[-2:]
    if min(n1, n2) > MAX_SIDE:
        raise ValueError(
            f"{n1} + {n2} units cannot be enumerated; allowed: {MAX_SIDE} on the smaller side"
        )
    return rbm if n1 <= n2 else rbm.swap()


def _pieces(rbm: RBM, chunk: int | None) -> Iterator[tuple[int, int]]:
    """Yield the first state and the last state + 1 of every chunk."""
    n1, n2 = rbm.w.shape[-2:]
    size = max(1, (chunk or CHUNK) // (max(1, math.prod(rbm.b1.shape[:-1])) * max(n1, n2)))
    return ((start, min(start + size, 2**n1)) for start in range(0, 2**n1, size))


def _log_weights(rbm: RBM, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log sum_z2 exp(-E) (*batch, states), the states, and the logits of side 2.

    The states are (states, n1) and the logits (*batch, states, n2).
    """
    z = states(rbm.b1.shape[-1], rbm.b1, start, stop)
    logits = z @ rbm.w + rbm.b2.unsqueeze(-2)
    return rbm.b1 @ z.mT + F.softplus(logits).sum(-1), z, logits


def _moments(rbm: RBM, pieces: list[tuple[int, int]]) -> Moments:
    """Return the moments over all pieces: each piece's means weigh by its share of the sum."""
    total: Moments | None = None
    for piece in pieces:
        if not torch.compiler.is_compiling():
            tick()
        log_w, z, logits = _log_weights(rbm, *piece)
        piece_log_z = torch.logsumexp(log_w, -1)

        # p(z1) among the states of the piece, (*batch, 1, states); E[z2 | z1] is (*batch, states,
        # n2).
        probability = torch.exp(log_w - piece_log_z.unsqueeze(-1)).unsqueeze(-2)
        mean2 = torch.sigmoid(logits)
        piece_moments = Moments(
            piece_log_z,
            (probability @ z).squeeze(-2),
            (probability @ mean2).squeeze(-2),
            (z.mT * probability) @ mean2,
        )
        total = piece_moments if total is None else _merge(total, piece_moments)

    if total is None:
        raise ValueError("no states to sum over")
    return total


def _merge(a: Moments, b: Moments) -> Moments:
    # The share of ``b`` in the sum of both, with axes for vectors and for matrices.
    share = torch.sigmoid(b.log_z - a.log_z)
    share1 = share.unsqueeze(-1)
    share2 = share[..., None, None]
    weights = (share1, share1, share2)
    means = [x + s * (y - x) for x, y, s in zip(a[1:], b[1:], weights, strict=True)]
    return Moments(torch.logaddexp(a.log_z, b.log_z), *means)
