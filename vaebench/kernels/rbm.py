"""A restricted Boltzmann machine (RBM) laid out for the kernels.

Its couplings become tables (``bits``), its chains words of 16 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench import kernels
from vaebench.kernels import bits, chains
from vaebench.kernels.vectors import LANES
from vaebench.kernels.words import packed, unpacked, words_of

OFF = -1e30
"""Bias of a unit of the padding."""


def row_of(units: int) -> int:
    """Return how many numbers a row of lower digits has: whole words, and one word more."""
    # The two sides may share a row. Then side 2 begins anywhere in it, and the last vector that is
    # read of it may end up to 15 numbers behind the row's last one.
    return (words_of(units) + 1) * LANES


def padded(v: Tensor, fill: float = 0.0) -> np.ndarray:
    """Return (..., n) floats as (..., n rounded up to whole words), the rest ``fill``."""
    more = words_of(v.shape[-1]) * LANES - v.shape[-1]
    return F.pad(v.to(torch.float32), (0, more), value=fill).contiguous().numpy()


class Noise(NamedTuple):
    """Uniforms as the kernels read them: ``low`` + ``factor`` times ``numbers``.

    Attributes:
        numbers: (..., k, n) in one axis, without padding. Floats are the uniforms themselves, int16
            their upper digits.
        factor: What the numbers are multiplied with.
        low: The lower digits, a row of floats for every sweep, or one row for all.
        row: Distance from one row of ``low`` to the next; 0: there is one row.
    """

    numbers: np.ndarray
    factor: float
    low: np.ndarray
    row: int

    def mirrored(self) -> Noise:
        """Return 1 - u for every u.

        A kernel's bit is u > sigmoid(-logit). With 1 - u it is that of u < sigmoid(logit).
        """
        return Noise(self.numbers, -self.factor, 1 - self.low, self.row)


def laid_out(u: tuple[Tensor, Tensor] | Tensor) -> Noise:
    """Lay out noise (..., k, n), given as uniforms or as digits.

    As digits, the upper ones (..., k, n) are int16, and the lower ones are (..., 1, n).
    """
    if isinstance(u, Tensor):
        return Noise(
            u.to(torch.float32).contiguous().numpy().reshape(-1),
            1.0,
            _zeros(row_of(u.shape[-1])),
            0,
        )

    # int16 times 2^-16 lies in [-1/2, 1/2); the lower digits contain the half that moves it to
    # (0, 1), see ``rng.noise.digits``. In the padding they are that half alone. Its units are 0
    # whatever their uniforms are.
    high, low = u
    rows = F.pad(low.flatten(0, -2), (0, row_of(low.shape[-1]) - low.shape[-1]), value=0.5)
    return Noise(
        high.contiguous().numpy().reshape(-1), 2.0**-16, rows.numpy().reshape(-1), rows.shape[-1]
    )


class RBMKernel:
    """One RBM on the CPU: biases ``b1`` (n1,), ``b2`` (n2,), couplings ``w`` (n1, n2).

    ``d1`` and ``d2`` are biases that are scaled together with the couplings: at scale t the RBM has
    the biases b + t d and the couplings t w, as annealing needs it. Raises ValueError for sides
    that the kernels do not take, see ``kernels.fits``.

    The *field* of a side is what the scale multiplies: d plus the product of the couplings and the
    bits of the other side. A state of k chains is (k, words) uint16, in one axis.
    """

    packed = staticmethod(packed)
    unpacked = staticmethod(unpacked)

    def __init__(
        self, b1: Tensor, b2: Tensor, w: Tensor, d1: Tensor | None = None, d2: Tensor | None = None
    ) -> None:
        if not kernels.fits(w):
            raise ValueError(f"no kernel for couplings {tuple(w.shape)} of {w.dtype} on {w.device}")

        self.n1, self.n2 = w.shape
        self.words1 = words_of(self.n1)
        self.words2 = words_of(self.n2)
        self.bias1 = padded(b1, OFF)
        self.bias2 = padded(b2, OFF)
        self.field1 = padded(torch.zeros(self.n1) if d1 is None else d1)
        self.field2 = padded(torch.zeros(self.n2) if d2 is None else d2)

        # ``table2`` gives the logits of side 2 from the bits of side 1, ``table1`` the other way.
        # z1.d1 is a product with bits too, by a table of one column.
        self.table2 = _table(w)
        self.table1 = _table(w.mT)
        self._slopes = _table(torch.from_numpy(self.field1)[: self.n1, None])
        self._sums = _zeros(0)

    def gibbs(
        self, z1: Tensor, u2: tuple[Tensor, Tensor] | Tensor, u1: tuple[Tensor, Tensor] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run sweeps of chains from ``z1`` (k, n1), zeros and ones, at scale 1.

        The noise is (sweeps, k, n) for each side, see ``laid_out``. Returns the new (z1, z2),
        float32.
        """
        k = len(z1)
        sweeps = len(u2[0] if isinstance(u2, tuple) else u2)
        state1 = packed(z1)
        state2 = np.empty(k * self.words2, np.uint16)
        noise2 = laid_out(u2)
        noise1 = laid_out(u1)

        # Both sides have noise of one kind, and so one factor.
        run = (
            chains.gibbs_by_floats if noise2.numbers.dtype == np.float32 else chains.gibbs_by_digits
        )
        run(
            *(self.table2, self.table1, state1, state2, k, self.n1, self.n2),
            *(self.bias2, self.bias1, self.field2, self.field1),
            *(
                noise2.numbers,
                noise1.numbers,
                noise2.factor,
                noise2.low,
                noise1.low,
                noise2.row,
                noise1.row,
            ),
            *(sweeps, np.zeros(LANES, noise2.numbers.dtype)),
        )

        return unpacked(state1, k, self.n1), unpacked(state2, k, self.n2)

    def half2(
        self, state1: np.ndarray, scale: float, u: Noise, at: int, stride: int, low_at: int = 0
    ) -> np.ndarray:
        """Draw the bits of side 2 of every chain given those of side 1, as words, at a scale.

        The noise of the first chain begins at ``at``, that of each next one ``stride`` later. Its
        lower digits begin at ``low_at``.
        """
        k = len(state1) // self.words1
        drawn = np.empty(k * self.words2, np.uint16)
        sides = self.table2, state1, self.words1, k, drawn, self.n2, self.bias2, self.field2, scale
        _run_half(sides, u, at, stride, low_at)
        return drawn

    def half1(
        self, state2: np.ndarray, scale: float, u: Noise, at: int, stride: int, low_at: int = 0
    ) -> np.ndarray:
        """Draw the bits of side 1 of every chain given those of side 2, as words; see ``half2``."""
        k = len(state2) // self.words2
        drawn = np.empty(k * self.words1, np.uint16)
        sides = self.table1, state2, self.words2, k, drawn, self.n1, self.bias1, self.field1, scale
        _run_half(sides, u, at, stride, low_at)
        return drawn

    def weigh(self, state1: np.ndarray, low: float, high: float, log_w: np.ndarray) -> None:
        """Add log f_high(z1) - log f_low(z1) to ``log_w`` (k,), float64.

        f_t is the unnormalised density of side 1 at scale t. The term of the biases b1 does not
        change with t, so it is left out of both.
        """
        # Working memory, kept from call to call: 48 numbers a chain, see ``chains.weigh``.
        k = len(log_w)
        if len(self._sums) < 48 * k:
            self._sums = _zeros(48 * k)
        states = self.table2, state1, self.words1, k
        chains.weigh(
            *states, self.n2, self.bias2, self.field2, self._slopes, low, high, self._sums, log_w
        )


def _run_half(sides: tuple, u: Noise, at: int, stride: int, low_at: int) -> None:
    """Run half a sweep; ``sides`` are the arguments of the kernel up to the scale."""
    # There is a kernel for each kind of noise, so that its loop has no branch on it.
    run = chains.half_by_floats if u.numbers.dtype == np.float32 else chains.half_by_digits
    run(*sides, u.numbers, at, stride, u.factor, u.low, low_at, np.zeros(LANES, u.numbers.dtype))


def _table(matrix: Tensor) -> np.ndarray:
    """Return the table of products with a matrix (rows, columns)."""
    rows, columns = matrix.shape
    table = _zeros(words_of(rows) * words_of(columns) * bits.WORD)
    values = matrix.detach().to(torch.float32).contiguous().numpy().reshape(-1)
    bits.fill_table(table, values, rows, columns)
    return table


def _zeros(count: int) -> np.ndarray:
    """Return floats that begin at a whole cache line, as torch's do.

    Otherwise every load would touch two lines.
    """
    return torch.zeros(count).numpy()
