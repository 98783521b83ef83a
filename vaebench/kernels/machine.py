"""A restricted Boltzmann machine laid out for the kernels: tables of its couplings, and chains of it as words."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaebench import kernels
from vaebench.kernels import bits, chains
from vaebench.kernels.vectors import LANES

OFF = -1e30
"""Bias of a unit that is not there."""


def words_of(units: int) -> int:
    """Words of 16 bits of so many units."""
    return -(-units // LANES)


def padded(v: Tensor, fill: float = 0.0) -> np.ndarray:
    """(..., n) floats as (..., n rounded up to whole words), the rest ``fill``."""
    more = words_of(v.shape[-1]) * LANES - v.shape[-1]
    return torch.nn.functional.pad(v.to(torch.float32), (0, more), value=fill).contiguous().numpy()


class Machine:
    """One machine on the CPU: biases ``b1`` (n1,), ``b2`` (n2,), couplings ``w`` (n1, n2).

    Raises ValueError for sides that the kernels do not take, see ``kernels.fits``.
    """

    def __init__(self, b1: Tensor, b2: Tensor, w: Tensor) -> None:
        if not kernels.fits(w):
            raise ValueError(f"no kernel for couplings {tuple(w.shape)} of {w.dtype} on {w.device}")
        self.n1, self.n2 = w.shape
        self.words1, self.words2 = words_of(self.n1), words_of(self.n2)
        self.bias1, self.bias2 = padded(b1, OFF), padded(b2, OFF)
        self.none1, self.none2 = np.zeros_like(self.bias1), np.zeros_like(self.bias2)

        # torch aligns its memory to whole cache lines, without which every load would touch two.
        own = w.detach().contiguous().numpy().reshape(-1)
        size = self.words1 * self.words2 * bits.WORD
        self.table2, self.table1 = torch.empty(size).numpy(), torch.empty(size).numpy()
        bits.fill_table(self.table2, own, self.n1, self.n2, self.n2, 1, self.words1)
        bits.fill_table(self.table1, own, self.n2, self.n1, 1, self.n2, self.words2)

    def gibbs(
        self, z1: Tensor, u2: tuple[Tensor, Tensor] | Tensor, u1: tuple[Tensor, Tensor] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sweeps of chains from ``z1`` (k, n1), zeros and ones; the new (z1, z2), float32.

        Noise (sweeps, k, n) as uniforms, or as upper digits (sweeps, k, n), int16, and lower digits (sweeps, 1, n).
        """
        k = len(z1)
        state1, state2 = self.packed(z1), np.empty(k * self.words2, np.uint16)
        (high2, low2, kind), (high1, low1, _) = _noise(u2, self.none2), _noise(u1, self.none1)
        run = chains.gibbs_by_digits if kind == np.int16 else chains.gibbs_by_floats
        machine = self.n1, self.n2, self.bias2, self.bias1, self.none2, self.none1
        noise = high2, high1, low2, low1, len(high2) // (k * self.n2), np.empty(LANES, kind)
        run(self.table2, self.table1, state1, state2, k, *machine, *noise)
        return self.unpacked(state1, k, self.n1), self.unpacked(state2, k, self.n2)

    def packed(self, z1: Tensor) -> np.ndarray:
        """Bits of side 1 (k, n1) as words."""
        z1 = z1.to(torch.float32).contiguous()
        state = np.empty(len(z1) * self.words1, np.uint16)
        bits.pack(z1.numpy().reshape(-1), self.n1, len(z1), self.n1, self.words1, state)
        return state

    @staticmethod
    def unpacked(state: np.ndarray, chains: int, units: int) -> Tensor:
        """Words as bits (k, n), float32."""
        words = words_of(units)
        out = torch.empty(chains, words * LANES)
        bits.unpack(state, words, chains, out.numpy().reshape(-1))
        return out[:, :units]


def _noise(u: tuple[Tensor, Tensor] | Tensor, none: np.ndarray) -> tuple[np.ndarray, np.ndarray, type]:
    """Noise as an array in one row, the lower digits of every sweep in one row, and its type."""
    if isinstance(u, Tensor):
        return u.to(torch.float32).contiguous().numpy().reshape(-1), none, np.float32
    high, low = u
    return high.contiguous().numpy().reshape(-1), padded(low.flatten(0, -2)).reshape(-1), np.int16
